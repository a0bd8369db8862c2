"""What was done in the admin, for its history: who, when and what."""

from __future__ import annotations

from typing import Any

from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.http import HttpRequest


def note(
    request: HttpRequest,
    model: type[models.Model],
    name: str,
    message: str,
    *,
    key: str | None = None,
    flag: int = CHANGE,
) -> None:
    """Write an entry about something that is no row, or of which the row is gone.

    Args:
        request: Says who it was.
        model: Whose history it belongs to.
        name: What it was done to.
        message: What was done.
        key: Groups the entries about one thing.
        flag: Kind of entry, as `LogEntry` has them.
    """
    LogEntry.objects.create(
        user_id=str(request.user.pk),  # of a staff user, which the stubs do not know
        content_type_id=ContentType.objects.get_for_model(model).pk,
        object_id=key,
        object_repr=name[:200],
        action_flag=flag,
        change_message=message,
    )


def latest(
    model: type[models.Model], most: int = 10, *, key: str | None = None
) -> models.QuerySet[Any]:
    """Return the last entries about a model's rows, the newest first, with their users.

    Args:
        model: Whose history.
        most: So many at most.
        key: Only those about one thing, as `note` was given it.
    """
    kind = ContentType.objects.get_for_model(model)
    entries = LogEntry.objects.filter(content_type=kind).select_related("user")
    if key is not None:
        entries = entries.filter(object_id=key)
    return entries.order_by("-action_time", "-pk")[:most]
