"""The line before a provider: jobs that wait for its limits, whom no later question overtakes.

Whether there is one is asked of the table before an attempt, by two short queries. While the table
cannot be read there is no line: the limits themselves hold, and who comes later may come first.
"""

from __future__ import annotations

import datetime
import time

from django.db import DatabaseError, InterfaceError, connections, transaction
from django.db.models import Q
from django.utils import timezone

from django_obc_ai.conf import get_settings
from django_obc_ai.logs import events
from django_obc_ai.models import Job, JobHold
from django_obc_ai.models.connections import persist
from django_obc_ai.models.writer import transaction_of

#: Jobs of a line are due within so long, and one has ended so long ago at most.
_LINE = datetime.timedelta(seconds=60)
#: How long a table that could not be read is left alone.
_AWAY_SECONDS = 1.0
_clock = time.monotonic
#: By database.
_away_since: dict[str, float] = {}


def is_queueing(provider: str) -> bool:
    """Return whether questions that a provider's limits refuse become jobs."""
    limits = get_settings().rate_limits.get(provider)
    return limits is not None and limits.when_exceeded == "queue"


def line_of(provider: str) -> datetime.datetime | None:
    """Return when the first job that waits for a provider is due, aware; None if there is no line.

    Jobs that nobody answers hold nobody up: it is a line where one has an answer since a moment
    ago, or is being answered. Nor do those that are to wait for longer, or are nobody's hurry:
    those below priority 0.
    """
    if not is_queueing(provider) or is_away():
        return None
    database = get_settings().database
    try:
        first = persist(database, lambda: _first_apart(provider, database), attempts=2)
    except (DatabaseError, InterfaceError) as error:
        note_away()
        events.JOBS_LINE_UNREAD.log(error=error)
        return None
    return timezone.make_aware(first) if first is not None and timezone.is_naive(first) else first


def is_away() -> bool:
    """Return whether the table could not be used a moment ago."""
    since = _away_since.get(get_settings().database)
    return since is not None and _clock() - since < _AWAY_SECONDS


def note_away() -> None:
    """Leave the table alone for a moment, so that not every call waits for it in vain."""
    database = get_settings().database
    if transaction_of(database) == "none":  # else it may be that transaction which is broken
        _away_since[database] = _clock()


def _first_apart(provider: str, database: str) -> datetime.datetime | None:
    """Read in a savepoint where somebody has a transaction open, which no fault may break."""
    if not connections[database].in_atomic_block:
        return _first(provider)
    with transaction.atomic(using=database):
        return _first(provider)


def _first(provider: str) -> datetime.datetime | None:
    now = timezone.now()
    waiting = Job.objects.filter(
        Q(deadline_at=None) | Q(deadline_at__gt=now),
        Q(not_before=None) | Q(not_before__lte=now),
        status=Job.Status.QUEUED,
        provider=provider,
        priority__gte=0,
        due_at__lte=now + _LINE,
    )
    first = waiting.order_by("due_at").values_list("due_at", flat=True).first()
    if first is None or not _is_served(provider, now):
        return None
    held = JobHold.objects.filter(provider=provider, until__gt=first)
    return held.values_list("until", flat=True).first() or first


def _is_served(provider: str, now: datetime.datetime) -> bool:
    # Not by when one was taken: it may have been put back at once.
    ended = Job.objects.filter(provider=provider, finished_at__gt=now - _LINE)
    if ended.filter(result__isnull=False).exists():
        return True
    # They are few; by provider SQLite would go through all jobs.
    running = Job.objects.filter(status=Job.Status.RUNNING, lease_until__gt=now).order_by()
    return provider in running.values_list("provider", flat=True)
