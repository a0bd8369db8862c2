"""What earlier turns a model is shown: the latest in full, older ones as a summary.

The summary is made of the turns' own words, without a call: the question, and how its answer
began. Refused turns and failures are left out of both.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django_obc_ai.models import ChatMessage, Conversation
from django_obc_ai.types import Message
from django_obc_ai.types.quoting import neutralise

_MOST_PLANS = 3
_ASKED, _ANSWERED = 160, 200
_SENTENCE = re.compile(r".+?(?:[.!?](?=\s|$)|\n|$)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Earlier turns of a conversation.

    Attributes:
        messages: Questions and answers by turns, oldest first.
        summary: Of the turns before these, "" if there are none.
        plans: The latest raw plans that were found safe, oldest first.
    """

    messages: tuple[Message, ...] = ()
    summary: str = ""
    plans: tuple[Mapping[str, Any], ...] = ()

    @property
    def text(self) -> str:
        """Return all that was said, to look numbers up in."""
        return "\n".join([self.summary, *(each.text for each in self.messages)])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Turn:
    question: str
    answer: str
    last: int

    @property
    def tokens(self) -> int:
        return estimate_tokens(self.question) + estimate_tokens(self.answer) + 8


def estimate_tokens(text: str) -> int:
    """Return about how many tokens a text has, on the high side: no tokenizer is asked."""
    plain = sum(1 for each in text if each.isascii())
    return -(-plain // 3) + len(text) - plain


def read_history(conversation: Conversation, *, tokens: int) -> History:
    """Return what fits into a number of tokens, and store the summary of what no longer does.

    Half of them are for turns in full, a quarter each for the summary and for plans.
    """
    rows = ChatMessage.objects.filter(conversation=conversation, is_refused=False, error="")
    turns = _turns(rows.filter(pk__gt=conversation.summarised_to).order_by("pk"))
    kept, left = len(turns), tokens // 2
    while kept and turns[kept - 1].tokens <= left:
        kept -= 1
        left -= turns[kept].tokens
    if kept:
        _fold(conversation, turns[:kept], tokens=tokens // 4)
    messages = [
        message
        for turn in turns[kept:]
        for message in (
            Message(role="user", text=neutralise(turn.question)),
            Message(role="assistant", text=neutralise(turn.answer)),
        )
    ]
    planned = rows.filter(plan__isnull=False).order_by("-pk").values_list("plan", flat=True)
    plans, left = [], tokens // 4
    for plan in planned[:_MOST_PLANS]:
        left -= estimate_tokens(json.dumps(plan))
        if plan is None or left < 0:
            break
        plans.append(plan)
    return History(
        messages=tuple(messages), summary=conversation.summary, plans=tuple(reversed(plans))
    )


def _turns(messages: Any) -> list[_Turn]:
    """Pair each answer with the question before it; a question without one is left out."""
    turns, question = [], None
    for message in messages:
        if message.role == ChatMessage.Role.USER:
            question = message.text
        elif question is not None:
            turns.append(_Turn(question=question, answer=message.text, last=message.pk))
            question = None
    return turns


def _fold(conversation: Conversation, turns: Sequence[_Turn], *, tokens: int) -> None:
    """Add turns to the summary; its oldest lines give way."""
    lines = [line for line in conversation.summary.split("\n") if line]
    for turn in turns:
        asked = _cut(turn.question, min(_ASKED, tokens))
        answered = _cut(_first(turn.answer), min(_ANSWERED, tokens))
        lines.append(f"- Asked: {asked} Answered: {answered}")
    while lines and estimate_tokens("\n".join(lines)) > tokens:
        lines.pop(0)
    before = conversation.summarised_to
    conversation.summary = "\n".join(lines)
    conversation.summarised_to = turns[-1].last
    # Another request may have been faster: what it stored stays.
    Conversation.objects.filter(pk=conversation.pk, summarised_to=before).update(
        summary=conversation.summary, summarised_to=conversation.summarised_to
    )


def _first(text: str) -> str:
    found = _SENTENCE.match(text.strip())
    return found[0] if found else ""


def _cut(text: str, length: int) -> str:
    words = " ".join(text.split())
    return words if len(words) <= length else f"{words[: length - 1]}…"
