"""Conversations that begin before a question, and that end: too old, or with their user."""

from __future__ import annotations

import datetime
from typing import Any

from django.utils import timezone

from django_obc_ai.conf import get_settings
from django_obc_ai.models import Conversation
from django_obc_ai.services.text import scope_of

_AT_ONCE = 500


def start_conversation(*, user: Any) -> Conversation:
    """Store an empty conversation, whose key is needed before its first answer is streamed.

    Args:
        user: Whose it is; a user, an AnonymousUser or None.
    """
    return Conversation.objects.create(user_id=getattr(user, "pk", None), scope=scope_of(user))


def purge_conversations(days: int | None = None, *, is_dry_run: bool = False) -> int:
    """Delete conversations in which nothing was asked for so many days, with their messages.

    Operations stay in the ledger; they hold nothing that was said.

    Args:
        days: None takes ``OBC_AI["CHAT"]["retention_days"]``; if that is None, all stay.
        is_dry_run: Only count them.

    Returns:
        How many they are.
    """
    kept = get_settings().chat.retention_days if days is None else days
    if kept is None:
        return 0
    old = Conversation.objects.filter(
        updated_at__lt=timezone.now() - datetime.timedelta(days=kept)
    ).order_by()
    return old.count() if is_dry_run else _delete(old)


def erase_conversations(user_id: Any) -> int:
    """Delete all conversations of a user, with their messages; return how many they were.

    Deleting the user does the same.
    """
    return _delete(Conversation.objects.filter(user_id=user_id).order_by())


def _delete(rows: Any) -> int:
    # Any: a queryset, which the stubs would have generic. In batches: no lock for long.
    count = 0
    while keys := list(rows.values_list("pk", flat=True)[:_AT_ONCE]):
        Conversation.objects.filter(pk__in=keys).delete()
        count += len(keys)
    return count
