"""Conversations: begun before a question, found again by their owner, deleted."""

from __future__ import annotations

import datetime
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.utils import timezone

from django_obc_ai.conf import get_settings
from django_obc_ai.exceptions import UnknownConversationError
from django_obc_ai.models import Conversation
from django_obc_ai.services.text import scope_of

_AT_ONCE = 500


def start_conversation(*, user: Any) -> Conversation:
    """Store an empty conversation, whose key is needed before its first answer is streamed.

    Args:
        user: Whose it is; a user, an AnonymousUser or None.
    """
    return Conversation.objects.create(user_id=getattr(user, "pk", None), scope=scope_of(user))


def get_conversation(conversation: Any, *, user: Any) -> Conversation:
    """Return a conversation of this user, in this user's tenant, by row or key.

    Conversations of people who did not log in are found by whoever knows their key.

    Raises:
        UnknownConversationError: There is none of that key, it is another user's, or it
            belongs to another tenant; the error does not say which.
    """
    key = conversation.pk if isinstance(conversation, Conversation) else conversation
    own = Conversation.objects.filter(scope=scope_of(user), **owned_by(user))
    found = own.filter(pk=key_of(key)).first()
    if found is None:
        raise unknown_conversation()
    return found


def list_conversations(*, user: Any) -> QuerySet[Conversation]:
    """Return this user's conversations in this user's tenant, the last one first.

    Those in which nothing was asked are left out. People who did not log in have no list.
    """
    if getattr(user, "pk", None) is None:
        return Conversation.objects.none()
    return Conversation.objects.filter(scope=scope_of(user), user_id=user.pk).exclude(title="")


def delete_conversation(conversation: Any, *, user: Any) -> None:
    """Delete a conversation of this user, with its messages; operations stay in the ledger.

    Raises:
        UnknownConversationError: See get_conversation().
    """
    get_conversation(conversation, user=user).delete()


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


def key_of(key: Any) -> UUID:
    """Return a key as a UUID.

    Raises:
        UnknownConversationError: It is none.
    """
    try:
        return key if isinstance(key, UUID) else UUID(str(key))
    except ValueError:
        raise unknown_conversation() from None


def owned_by(user: Any) -> dict[str, Any]:
    """Return the condition under which a conversation is this user's."""
    key = getattr(user, "pk", None)  # AnonymousUser has none
    return {"user_id__isnull": True} if key is None else {"user_id": key}


def unknown_conversation() -> UnknownConversationError:
    """Return the error that does not say whether there is such a conversation."""
    return UnknownConversationError(
        "There is no such conversation or message. Give the key of one of this user's own."
    )
