"""The sum of the whole ledger, at the price of its last two days.

What lies before is added up once by each process, and again when any of the kept days has changed:
a late row, a correction or a purge replaces the days that it touches.
"""

from __future__ import annotations

import datetime
import threading
from dataclasses import dataclass
from typing import TypeAlias

from django.db.models import Count, Max, Min
from django.utils import timezone

from django_obc_ai.models import AIOperation, OperationRollup
from django_obc_ai.querysets import current_day, day_bounds, default_zone
from django_obc_ai.services import rollups
from django_obc_ai.services.tally import Tally

#: Breakdowns with few values; users and tenants may be many.
BY = ("module", "operation_type", "model")
#: What a reader adds up at most, so that none waits long; a large ledger takes several.
_MOST = 500
_MOST_DAYS = 60
_TRIES = 3
_DAY = datetime.timedelta(days=1)
_Days: TypeAlias = tuple[datetime.date, datetime.date]
#: How many days are kept, and the key of the last: a day is never changed, but replaced.
_Mark: TypeAlias = tuple[int, int | None]


@dataclass(frozen=True, slots=True)
class _Past:
    days: _Days
    mark: _Mark
    tally: Tally


_lock = threading.Lock()
_past: _Past | None = None


def read_total() -> Tally | None:
    """Return the sum of all operations that there ever were, to this moment.

    None while the ledger is not added up yet, and in the rare case that it took too long. Each
    reader does a part of that work; `prepare` does all of it.
    """
    for _ in range(_TRIES):
        began = _open_from()
        if rollups.roll_up(most=_MOST):
            return None
        total = _add_up()
        # A quarter of an hour that closed meanwhile is in neither part: a sum that falls for a
        # moment would be taken for a counter that began anew.
        if _open_from() == began:
            return total
    return None


def prepare() -> None:
    """Add up the whole ledger, however long it takes, so that no reader has to."""
    rollups.roll_up()
    days = _past_days()
    while days is not None and not _keep_some(days):
        pass


def forget() -> None:
    """Add up everything anew with the next reader, as a process does that has just begun."""
    global _past
    with _lock:
        _past = None


def _open_from() -> datetime.datetime:
    return rollups.bucket_of(timezone.now() - rollups.MARGIN)


def _add_up() -> Tally | None:
    total, today = Tally(), current_day()
    days = _past_days()
    if days is not None:
        past = _read_past(days)
        if past is None:
            return None
        total.merge(past)
    # Tomorrow, too: another machine's clock may be ahead.
    for day in rollups.read_days(today - _DAY, today + _DAY, by=BY).values():
        total.merge(day)
    return total


def _past_days() -> _Days | None:
    """Return the first day, and the last that nothing may happen on any more."""
    first, last = _first_day(), current_day() - 2 * _DAY
    return None if first is None or first > last else (first, last)


def _read_past(days: _Days) -> Tally | None:
    global _past
    with _lock:
        mark = _mark()
        if _past is not None and (_past.days, _past.mark) == (days, mark):
            return _past.tally
        if not _keep_some(days):
            return None
        tally = Tally()
        for day in rollups.read_days(*days, by=BY).values():
            tally.merge(day)
        # Days that were kept while they were read, or changed by others, are looked at again.
        _past = _Past(days, mark, tally) if _mark() == mark else None
        return tally


def _keep_some(days: _Days) -> bool:
    """Keep the sums of some days that lack them; return whether none is lacking any more."""
    (first, last), (start, end) = days, day_bounds(*days)
    rows = OperationRollup.objects.filter(is_day=True, start__gte=start, end__lte=end)
    kept = set(rows.values_list("start", "end"))
    every = (first + number * _DAY for number in range((last - first).days + 1))
    missing = [day for day in every if day_bounds(day, day) not in kept]
    for day in missing[:_MOST_DAYS]:
        rollups.read_days(day, day, by=())
    return len(missing) <= _MOST_DAYS


def _mark() -> _Mark:
    kept = OperationRollup.objects.filter(is_day=True)
    found = kept.aggregate(count=Count("*"), last=Max("pk"))
    return found["count"], found["last"]


def _first_day() -> datetime.date | None:
    """Return the first day with an operation, also if its rows were purged since."""
    rows = AIOperation.objects.aggregate(first=Min("created_at"))["first"]
    quarters = OperationRollup.objects.filter(is_day=False)
    rolled = quarters.aggregate(first=Min("start"))["first"]
    found = [each for each in (rows, rolled) if each is not None]
    if not found:
        return None
    first: datetime.datetime = min(found)
    return first.astimezone(default_zone()).date() if first.tzinfo else first.date()
