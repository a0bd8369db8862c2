"""Pausing providers, and resuming them."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.utils import timezone

from django_obc_ai.backends.providers import providers
from django_obc_ai.conf import get_settings, suggest
from django_obc_ai.gateway import pauses
from django_obc_ai.models import ProviderPause
from django_obc_ai.models.fields import NAME_LENGTH


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """A provider that is not asked now.

    Attributes:
        alias: Of the provider in ``OBC_AI["PROVIDERS"]``.
        reason: For people.
        paused_by: Who it was, by name.
        since: When it began.
        until: When it ends by itself; None for when somebody resumes it.
    """

    alias: str
    reason: str
    paused_by: str
    since: datetime.datetime
    until: datetime.datetime | None


def paused_providers() -> dict[str, Pause]:
    """Return the pauses that hold at this moment, by alias; one query."""
    now = timezone.now()
    return {
        row.alias: Pause(
            alias=row.alias,
            reason=row.reason,
            paused_by=row.paused_by,
            since=row.since,
            until=row.until,
        )
        for row in ProviderPause.objects.order_by("alias")
        if row.until is None or row.until > now
    }


def pause_provider(
    alias: str, *, reason: str, user: Any = None, until: datetime.datetime | None = None
) -> Pause:
    """Send nothing to a provider from now on; every process knows within a second.

    New calls fail with `ProviderPausedError`, and so do further attempts of calls under way;
    answers in the response cache are still served. A pause that is there already is replaced.

    Args:
        alias: Of the provider in ``OBC_AI["PROVIDERS"]``.
        reason: For people; at most 300 characters.
        user: Who does it.
        until: When it ends by itself; None for when somebody resumes it.

    Raises:
        ValueError: There is no such provider, no reason, or the end lies in the past.
    """
    if alias not in providers:
        raise ValueError(f"There is no provider {alias!r}. {suggest(alias, providers)}")
    if not reason.strip() or len(reason) > 300:
        raise ValueError("Give a reason of at most 300 characters.")
    since = timezone.now()
    if until is not None and until <= since:
        raise ValueError(f"The pause would have ended at {until:%Y-%m-%d %H:%M}, before it began.")
    name = "" if user is None else str(user.get_username())[:NAME_LENGTH]
    facts = {"reason": reason, "paused_by": name, "since": since, "until": until}
    ProviderPause.objects.update_or_create(alias=alias, defaults=facts)
    _tell()
    return Pause(alias=alias, reason=reason, paused_by=name, since=since, until=until)


def resume_provider(alias: str) -> bool:
    """Let a provider be asked again; return whether it was paused."""
    gone, _ = ProviderPause.objects.filter(alias=alias).delete()
    _tell()
    return gone > 0


def _tell() -> None:
    """Let this process know at once; the others read for themselves."""
    forget: Callable[[], None] = pauses.forget
    transaction.on_commit(forget, using=get_settings().database)
