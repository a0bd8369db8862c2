"""Handing a user what the package holds about them, as JSON.

The schema is in docs/howto/personal-data.md. Nothing of other people, no keys and no hashes:
of the sources that an answer cites the titles and addresses are given, and not the passages,
which are other people's texts as often as the user's own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import Q
from django.utils import timezone

from django_obc_ai.models import (
    AIOperation,
    Budget,
    ChatMessage,
    Conversation,
    StoredContent,
)
from django_obc_ai.services import _attribution, _job_erasing, _people

FORMAT = "django_obc_ai.user_data"
VERSION = 1
_AT_ONCE = 500
#: Whose it is stands at the top; the hash and the cache entry tell the operator alone something.
_NOT_TOLD = ("user", "prompt_hash", "cache_entry")
_OPERATION = tuple(field.name for field in AIOperation._meta.fields if field.name not in _NOT_TOLD)
_CONVERSATION = ("id", "scope", "title", "summary", "created_at", "updated_at")
_MESSAGE = (
    "key", "role", "text", "is_refused", "is_offline", "error", "created_at", "citations",
    "found_by", "warnings",
)  # fmt: skip
_CONTENT = ("operation_id", "system", "prompt", "history", "answer", "created_at")
_BUDGET = ("key", "period", "limit_usd", "limit_tokens", "limit_requests", "enforce", "time_zone")
_PROMPT = ("name", "version", "status", "created_at", "activated_at", "created_by_id")


def export_user_data(user: Any) -> Iterator[str]:
    """Yield the pieces of one JSON document with all that is held about a user.

    Rows are read as the pieces are asked for, a few hundred at a time.

    Args:
        user: A user, or the primary key of one who may be deleted already.

    Raises:
        ValueError: Nobody is meant.
    """
    return _document(_people.person_of(user))


def _document(person: _people.Person) -> Iterator[str]:
    head = {
        "format": FORMAT,
        "version": VERSION,
        "exported_at": timezone.now(),
        "user": {"id": str(person.key), "name": person.name},
    }
    yield _json(head)[:-1]
    for name, rows in (
        ("operations", _operations(person)),
        ("conversations", _conversations(person)),
        ("stored_content", _contents(person)),
        ("jobs", _job_erasing.told(person.key)),
        ("budgets", _budgets(person)),
        ("prompts", _prompts(person)),
    ):
        yield f', "{name}": ['
        for number, row in enumerate(rows):
            yield f"{',' if number else ''}\n{_json(row)}"
        yield "]"
    yield "}\n"


def _json(value: Any) -> str:
    return json.dumps(value, cls=DjangoJSONEncoder, ensure_ascii=False)


def _read(rows: Any, names: Iterable[str]) -> Iterator[dict[str, Any]]:
    # Any: a queryset, which the stubs would have generic.
    yield from rows.values(*names).iterator(chunk_size=_AT_ONCE)


def _operations(person: _people.Person) -> Iterator[dict[str, Any]]:
    rows = AIOperation.objects.filter(user_id=person.key).order_by("created_at", "pk")
    return _read(rows, _OPERATION)


def _conversations(person: _people.Person) -> Iterator[dict[str, Any]]:
    own = Conversation.objects.filter(user_id=person.key).order_by("created_at", "pk")
    for row in _read(own, _CONVERSATION):
        messages = ChatMessage.objects.filter(conversation_id=row["id"]).order_by("id")
        yield {**row, "messages": [_message(each) for each in _read(messages, _MESSAGE)]}


def _message(row: dict[str, Any]) -> dict[str, Any]:
    told = ("number", "title", "url")
    cited = [{name: each.get(name) for name in told} for each in row["citations"]]
    return {**row, "citations": cited}


def _contents(person: _people.Person) -> Iterator[dict[str, Any]]:
    rows = StoredContent.objects.filter(user_id=person.key).order_by("created_at", "pk")
    return _read(rows, _CONTENT)


def _budgets(person: _people.Person) -> Iterator[dict[str, Any]]:
    concerned = Q(key=str(person.key)) | Q(key="")  # "" is a budget of each user
    rows = Budget.objects.filter(concerned, scope="user").order_by("pk")
    for row in _read(rows, _BUDGET):
        yield {**row, "is_own": bool(row.pop("key"))}


def _prompts(person: _people.Person) -> Iterator[dict[str, Any]]:
    """Yield which versions of prompts the user wrote or made active; their text is the site's."""
    for row in _read(_attribution.prompts_by(person).order_by("pk"), (*_PROMPT, "activated_by_id")):
        by = {name: row.pop(f"{name}_by_id") == person.key for name in ("created", "activated")}
        yield {**row, "is_author": by["created"], "is_activator": by["activated"]}
