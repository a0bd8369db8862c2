"""A conversation of the original as a `Conversation` with its messages."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from django_obc_ai.conf import get_settings
from django_obc_ai.gateway.rows import clean
from django_obc_ai.models import ChatMessage, Conversation
from django_obc_ai.models.chat import TITLE_LENGTH
from django_obc_ai.models.connections import persist
from django_obc_ai.services._obcms_people import Owners
from django_obc_ai.services._obcms_tables import OldConversation, batches_of

_AT_ONCE = 100  # each may be long


def import_conversations(
    alias: str, owners: Owners, notes: Counter[str], *, is_dry_run: bool
) -> tuple[int, int, int]:
    """Import conversations; return how many are new, how many messages, how many were there."""
    new = messages = known = 0
    database, oldest = get_settings().database, _oldest_kept()
    for rows in batches_of(OldConversation, alias, size=_AT_ONCE):
        there = set(
            Conversation.objects.filter(pk__in=[row["id"] for row in rows]).values_list(
                "pk", flat=True
            )
        )
        known += len(there)
        found = owners.find(row["user_id"] for row in rows)
        made: list[tuple[Conversation, list[ChatMessage]]] = []
        for row in rows:
            if row["id"] in there:
                continue
            owner = found.get(row["user_id"])
            if owner is None:
                notes["conversations left behind: their user is not here"] += 1
                continue
            if oldest is not None and row["updated_at"] < oldest:
                notes["conversations left behind: older than CHAT['retention_days']"] += 1
                continue
            conversation = Conversation(id=row["id"], user_id=owner.key, scope=owner.scope)
            said = list(_messages_of(row, conversation, notes))
            if not said:
                notes["conversations left behind: nothing was said in them"] += 1
                continue
            title = clean(row["title"] or "").strip() or said[0].text
            conversation.title = " ".join(title.split())[:TITLE_LENGTH]
            conversation.created_at, conversation.updated_at = row["created_at"], row["updated_at"]
            made.append((conversation, said))
        if made and not is_dry_run:
            persist(database, partial(_store, made, database))
        new += len(made)
        messages += sum(len(said) for _, said in made)
    return new, messages, known


def _store(made: list[tuple[Conversation, list[ChatMessage]]], database: str) -> None:
    """Store conversations with all their messages, or none."""
    with transaction.atomic(using=database):
        Conversation.objects.bulk_create([conversation for conversation, _ in made])
        ChatMessage.objects.bulk_create([each for _, said in made for each in said])


def _messages_of(
    row: Mapping[str, Any], conversation: Conversation, notes: Counter[str]
) -> Iterator[ChatMessage]:
    """Yield what was said, in order; what is no message of a person or a model is counted."""
    last: datetime.datetime = row["created_at"]
    said = row["messages"] if isinstance(row["messages"], list) else []
    if said is not row["messages"]:
        notes["conversations whose messages are no list"] += 1
    for each in said:
        message = each if isinstance(each, dict) else {}
        role, text = message.get("role"), message.get("content")
        if role not in ChatMessage.Role.values:
            notes["messages left behind: neither a user's nor an assistant's"] += 1
        elif not isinstance(text, str) or not clean(text).strip():
            notes["messages left behind: without text"] += 1
        else:
            at = _moment(message.get("timestamp"))
            if at is None:
                notes["messages without a time: they have that of the one before"] += 1
            last = last if at is None else at
            yield ChatMessage(
                conversation=conversation, role=role, text=clean(text), created_at=last
            )


def _moment(text: Any) -> datetime.datetime | None:
    try:
        found = parse_datetime(text) if isinstance(text, str) else None
    except ValueError:  # such as a 13th month
        return None
    if found is None or timezone.is_aware(found) == settings.USE_TZ:
        return found
    zone = timezone.get_default_timezone()
    turn = timezone.make_aware if settings.USE_TZ else timezone.make_naive
    return turn(found, zone)


def _oldest_kept() -> datetime.datetime | None:
    days = get_settings().chat.retention_days
    return None if days is None else timezone.now() - datetime.timedelta(days=days)
