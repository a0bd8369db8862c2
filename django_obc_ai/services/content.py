"""Stored prompts and answers that end: too old, or with their user."""

from __future__ import annotations

import datetime
from typing import Any

from django.utils import timezone

from django_obc_ai.conf import get_settings
from django_obc_ai.models import StoredContent

_AT_ONCE = 500


def purge_content(older_than: datetime.timedelta | None = None, *, is_dry_run: bool = False) -> int:
    """Delete stored prompts and answers of a certain age; their operations stay.

    Args:
        older_than: None takes ``OBC_AI["LOG"]["content_days"]``; if that is None, all stay.
        is_dry_run: Only count them.

    Returns:
        How many they are.
    """
    if older_than is None:
        days = get_settings().log.content_days
        if days is None:
            return 0
        older_than = datetime.timedelta(days=days)
    old = StoredContent.objects.filter(created_at__lt=timezone.now() - older_than).order_by()
    return old.count() if is_dry_run else _delete(old)


def erase_content(user_id: Any) -> int:
    """Delete all stored prompts and answers of a user; return how many they were.

    Deleting the user does the same.
    """
    return _delete(StoredContent.objects.filter(user_id=user_id).order_by())


def _delete(rows: Any) -> int:
    # Any: a queryset, which the stubs would have generic. In batches: no lock for long.
    count = 0
    while keys := list(rows.values_list("pk", flat=True)[:_AT_ONCE]):
        StoredContent.objects.filter(pk__in=keys).delete()
        count += len(keys)
    return count
