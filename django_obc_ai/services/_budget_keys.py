"""Which operations a budget's total in the cost store is the sum of.

The one place that turns budgets back into rows of the ledger; a new kind of budget is added here.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from django.conf import settings
from django.utils import timezone

from django_obc_ai.conf import BudgetSettings, get_settings
from django_obc_ai.gateway.budget import period_key
from django_obc_ai.models import AIOperation
from django_obc_ai.querysets import AIOperationQuerySet, day_bounds, default_zone


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetKey:
    """A key of the cost store and the operations that it counts."""

    key: str
    operations: Callable[[], AIOperationQuerySet]


def find_keys(first: datetime.date, last: datetime.date) -> list[BudgetKey]:
    """Return the keys of all budgets whose periods touch the days first to last, each once."""
    found: dict[str, BudgetKey] = {}
    for budget in get_settings().budgets:
        for start, end in _periods(budget, first, last):
            key = period_key(budget, start or timezone.now())
            found[key] = BudgetKey(key=key, operations=_selection(start, end))
    return list(found.values())


def _selection(
    start: datetime.datetime | None, end: datetime.datetime | None
) -> Callable[[], AIOperationQuerySet]:
    def select() -> AIOperationQuerySet:
        rows = AIOperation.objects.all()
        if start is not None and end is not None:
            rows = rows.filter(created_at__gte=_stored(start), created_at__lt=_stored(end))
        return rows

    return select


def _stored(moment: datetime.datetime) -> datetime.datetime:
    """Return a moment as the database holds it."""
    return moment if settings.USE_TZ else moment.astimezone(default_zone()).replace(tzinfo=None)


_Period = tuple[datetime.datetime | None, datetime.datetime | None]


def _periods(
    budget: BudgetSettings, first: datetime.date, last: datetime.date
) -> Iterator[_Period]:
    """Yield start and end of a budget's periods, aware; (None, None) for all time."""
    day = datetime.timedelta(days=1)
    if budget.period == "total":
        yield None, None
        return
    if budget.period == "hour":
        start, end = _bounds(first, last)
        at = start.replace(minute=0)
        while at < end:
            yield at, at + datetime.timedelta(hours=1)
            at += datetime.timedelta(hours=1)
        return
    at_day = first
    while at_day <= last:
        from_day, to_day = _days_of(budget.period, at_day)
        yield _bounds(from_day, to_day)
        at_day = to_day + day


def _days_of(period: str, day: datetime.date) -> tuple[datetime.date, datetime.date]:
    """Return first and last day of the day, week or month that a day lies in."""
    if period == "day":
        return day, day
    if period == "week":
        monday = day - datetime.timedelta(days=day.weekday())
        return monday, monday + datetime.timedelta(days=6)
    first = day.replace(day=1)
    return first, (first + datetime.timedelta(days=31)).replace(day=1) - datetime.timedelta(days=1)


def _bounds(
    first: datetime.date, last: datetime.date
) -> tuple[datetime.datetime, datetime.datetime]:
    start, end = day_bounds(first, last)
    if settings.USE_TZ:
        return start, end
    zone = default_zone()
    return start.replace(tzinfo=zone), end.replace(tzinfo=zone)
