"""Answers and conversations as the page shows them."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from itertools import zip_longest
from typing import Any
from urllib.parse import urlencode

from django.utils.safestring import SafeString
from django.utils.translation import get_language

from django_obc_ai.chat.paths import allowed_models
from django_obc_ai.chat.planner import suggest
from django_obc_ai.exceptions import ObcAIError
from django_obc_ai.models import ChatMessage, Conversation
from django_obc_ai.services.chat import ChatService
from django_obc_ai.services.conversations import list_conversations
from django_obc_ai.types.chat import ChatAnswer, QueryPlan, QueryResult
from django_obc_ai.widget.addresses import Addresses
from django_obc_ai.widget.cells import is_number, show_value
from django_obc_ai.widget.charts import draw_chart
from django_obc_ai.widget.markdown import render_markdown
from django_obc_ai.widget.shown import (
    ShownAnswer,
    ShownCitation,
    ShownConversation,
    ShownMessage,
    Table,
)

_MOST_CONVERSATIONS = 20
_MOST_MESSAGES = 200
_QUERIES = ("query", "both")
_FILIPINO = ("fil", "tl")


def show_answer(answer: ChatAnswer, *, user: Any, addresses: Addresses) -> ShownAnswer:
    """Return an answer that has just been given, with everything that is known of it."""
    has_file = answer.rows is not None and answer.message_id is not None
    key = str(answer.message_id or uuid.uuid4())
    citations = _citations(
        {
            "number": each.number,
            "title": each.title,
            "url": each.url,
            "text": "" if each.object is None else each.text,
        }
        for each in answer.citations
    )
    return ShownAnswer(
        key=key,
        html=_html(answer, key, citations),
        citations=citations,
        table=_table(answer.rows),
        chart=draw_chart(answer.rows),
        found_by=answer.found_by,
        suggestions=answer.suggestions,
        warnings=answer.warnings,
        is_refused=answer.is_refused,
        is_offline=answer.is_offline,
        error=answer.error,
        rows_url=addresses.rows(key) if has_file else "",
        page_url=addresses.page
        if answer.conversation is None
        else addresses.conversation(answer.conversation.pk),
        sql=_sql(key, user) if has_file else "",
    )


def show_turn(
    message: str, answer: ChatAnswer, *, user: Any, addresses: Addresses
) -> tuple[ShownMessage, ...]:
    """Return a question and its answer."""
    shown = show_answer(answer, user=user, addresses=addresses)
    return (ShownMessage(role="user", text=message), ShownMessage(role="assistant", answer=shown))


def show_messages(
    conversation: Conversation, *, user: Any, addresses: Addresses, is_with_rows: bool
) -> tuple[ShownMessage, ...]:
    """Return the messages of a conversation, the first one first; of a long one the newest.

    Rows are not kept. Those of the last answer are read anew, with today's rights; of earlier
    ones the file is offered. A question that was stopped says that it has no answer; one that was
    asked again right after is shown once.

    Args:
        conversation: One that the user may open.
        user: Whose rights apply.
        addresses: Of the page.
        is_with_rows: Whether the rows of the last answer are read.
    """
    newest = list(conversation.messages.order_by("-pk")[:_MOST_MESSAGES])
    last = next((each.pk for each in newest if each.role == ChatMessage.Role.ASSISTANT), None)
    url = addresses.conversation(conversation.pk)
    shown = []
    told = newest[::-1]
    for each, following in zip_longest(told, told[1:]):
        if each.role != ChatMessage.Role.USER:
            is_read = is_with_rows and each.pk == last
            answer = _stored(each, user=user, addresses=addresses, is_read=is_read, page_url=url)
            shown.append(ShownMessage(role="assistant", answer=answer))
        elif following is not None and following.role != ChatMessage.Role.USER:
            shown.append(ShownMessage(role="user", text=each.text))
        elif following is None or following.text != each.text:
            retry = f"{url}?{urlencode({'message': each.text})}"
            shown.append(ShownMessage(role="user", text=each.text, retry_url=retry))
    return tuple(shown)


def has_rows(conversation: Conversation) -> bool:
    """Return whether showing a conversation means reading rows."""
    answers = conversation.messages.filter(role=ChatMessage.Role.ASSISTANT)
    last = answers.order_by("-pk").first()
    return last is not None and _is_query(last)


def show_conversations(
    user: Any, addresses: Addresses, *, current: Conversation | None = None
) -> tuple[ShownConversation, ...]:
    """Return somebody's own conversations, the last one first."""
    return tuple(
        ShownConversation(
            key=str(each.pk),
            title=each.title,
            url=addresses.conversation(each.pk),
            delete_url=addresses.delete(each.pk),
            updated_at=each.updated_at,
            is_current=current is not None and each.pk == current.pk,
        )
        for each in list_conversations(user=user)[:_MOST_CONVERSATIONS]
    )


def show_examples(user: Any) -> tuple[str, ...]:
    """Return up to three questions that somebody may begin with."""
    labels = list(allowed_models(user))
    if not labels:
        return ()
    is_filipino = (get_language() or "").partition("-")[0] in _FILIPINO
    return suggest(QueryPlan(model=labels[0]), user=user, language="tl" if is_filipino else "en")


def show_table(result: QueryResult | None) -> Table | None:
    """Return rows as people read them; None without any."""
    if result is None or not result.rows:
        return None
    figures = {each.alias for each in result.plan.aggregates}
    is_figure = [name in figures for name in result.columns]
    columns = list(zip(*result.rows, strict=True))
    return Table(
        labels=result.labels,
        rows=tuple(
            tuple(
                show_value(value, is_figure=figure)
                for value, figure in zip(row, is_figure, strict=True)
            )
            for row in result.rows
        ),
        total=result.total,
        is_cut=result.is_cut,
        is_numeric=tuple(
            any(map(is_number, column)) and all(v is None or is_number(v) for v in column)
            for column in columns
        ),
    )


def _table(result: QueryResult | None) -> Table | None:
    """Return the rows, but not a single figure: the text tells it, also where a model failed."""
    if result is not None and len(result.rows) == len(result.columns) == 1:
        plan = result.plan
        if plan.aggregates and not (plan.group_by or plan.fields):
            return None
    return show_table(result)


def _stored(
    message: ChatMessage, *, user: Any, addresses: Addresses, is_read: bool, page_url: str
) -> ShownAnswer:
    key = str(message.key)
    citations = _citations(message.citations)
    result = _rows(key, user) if is_read and _is_query(message) else None
    return ShownAnswer(
        key=key,
        html=_html(message, key, citations),
        citations=citations,
        table=_table(result),
        chart=draw_chart(result),
        found_by=message.found_by,
        warnings=tuple(message.warnings),
        is_refused=message.is_refused,
        is_offline=message.is_offline,
        error=message.error or None,
        rows_url=addresses.rows(key) if _is_query(message) else "",
        page_url=page_url,
        sql=_sql(key, user) if result is not None else "",
    )


def _html(
    answer: ChatAnswer | ChatMessage, key: str, citations: tuple[ShownCitation, ...]
) -> SafeString:
    numbers = [each.number for each in citations]
    # Without a model nobody wrote Markdown, but rows may be called like it.
    return render_markdown(answer.text, key=key, numbers=numbers, is_plain=answer.is_offline)


def _is_query(message: ChatMessage) -> bool:
    # A refusal holds the plan as well where it took the database too long.
    kind = (message.plan or {}).get("kind", "query")
    return message.plan is not None and kind in _QUERIES and not message.is_refused


def _rows(key: str, user: Any) -> QueryResult | None:
    """Return today's rows; what may no longer be asked is not shown, and says nothing."""
    try:
        return ChatService().read_rows(key, user=user)
    except ObcAIError:
        return None


def _sql(key: str, user: Any) -> str:
    if not (getattr(user, "is_staff", False) and getattr(user, "is_active", False)):
        return ""
    try:
        return ChatService().show_query(key, user=user)
    except ObcAIError:
        return ""


def _citations(stored: Iterable[dict[str, Any]]) -> tuple[ShownCitation, ...]:
    return tuple(
        ShownCitation(
            number=int(each["number"]),
            title=str(each["title"]),
            url=_safe_url(str(each.get("url", ""))),
            text=str(each.get("text", "")),
        )
        for each in stored
    )


def _safe_url(url: str) -> str:
    """Return an address of a page; of another scheme, such as of a script, nothing."""
    return url if url.lower().startswith(("/", "http://", "https://")) else ""
