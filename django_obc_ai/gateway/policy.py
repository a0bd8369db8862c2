"""Which budgets a call falls under, with the keys and the bounds of their periods."""

from __future__ import annotations

import datetime
import time
import zoneinfo
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import ROUND_FLOOR
from math import inf
from typing import Any

from django.contrib.auth import get_user_model
from django.db import DatabaseError, InterfaceError
from django.utils import timezone

from django_obc_ai.backends.cost_stores import BaseCostStore
from django_obc_ai.conf import BudgetSettings, get_settings
from django_obc_ai.exceptions import CostStoreError
from django_obc_ai.models.budgets import facts_of_all, parsed
from django_obc_ai.models.connections import apart, persist
from django_obc_ai.models.writer import transaction_of
from django_obc_ai.types import BudgetHold, CallInfo, nano_from_usd

#: How long a process goes on with the rows that it read last, while they cannot be read.
_MOST_STALE_SECONDS = 300.0
#: How long they are good without a look, where a change is told by the cost store at once.
_FRESH_SECONDS = 1.0
_clock = time.monotonic
_read: dict[str, _Rows] = {}  # by database


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """A budget that a call falls under.

    Attributes:
        budget: What was set.
        key: Of its total in the cost store, for example "module=mana:day:2026-11-22".
        limit: In nano-dollars, tokens or requests.
        resets_at: When the period is over; None is never.
    """

    budget: BudgetSettings
    key: str
    limit: int
    resets_at: datetime.datetime | None


@dataclass(frozen=True, slots=True)
class _Rows:
    facts: tuple[tuple[Any, ...], ...]
    budgets: list[BudgetSettings]
    at: float  # on the monotonic clock, before they were read
    version: str = ""  # what the cost store called them before they were read


_NOTHING_READ = _Rows((), [], -inf)


def in_force() -> list[BudgetSettings]:
    """Return the rows, and the entries of the settings that no row stands in place of.

    The rows are read each time: one query of a small table, so that a change is in force
    with the next call of every process, however it was written. While the database is away
    nobody can change them, and a process goes on with what it read last, for five minutes.

    Raises:
        CostStoreError: They cannot be read, so nobody knows what may be spent.
    """
    return _with_settings(_rows(get_settings().database, fresh_seconds=0.0).budgets)


def in_force_for(store: BaseCostStore) -> tuple[list[BudgetSettings], str]:
    """Return what in_force() does, and the version to reserve under; see `tracks_budgets`.

    Where the store tells of changes, rows that were read within the last second are good: a
    change by `Budget.save` or `Budget.delete` in any process is found by the reservation, and one
    by other ways, such as an update of a queryset, after that second.

    Raises:
        CostStoreError: See in_force().
    """
    if not store.tracks_budgets:
        return in_force(), ""
    rows = _rows(get_settings().database, fresh_seconds=_FRESH_SECONDS)
    return _with_settings(rows.budgets), rows.version


def forget(version: str | None = None) -> None:
    """Read the rows again with the next call of this process.

    Args:
        version: What the cost store calls the budgets now; None: what it did before.
    """
    database = get_settings().database
    known = _read.get(database, _NOTHING_READ)
    version = known.version if version is None else version
    _read[database] = replace(known, at=-inf, version=version)


def _with_settings(rows: list[BudgetSettings]) -> list[BudgetSettings]:
    settings = get_settings()
    if not rows:
        return list(settings.budgets)
    identities = {row.identity for row in rows}
    return [*rows, *(each for each in settings.budgets if each.identity not in identities)]


def _rows(database: str, *, fresh_seconds: float) -> _Rows:
    known = _read.get(database, _NOTHING_READ)
    began, is_alone = _clock(), transaction_of(database) == "none"
    if is_alone and began - known.at < fresh_seconds:
        return known
    try:
        facts = _facts(database)
    except (DatabaseError, InterfaceError) as error:
        if began - known.at < _MOST_STALE_SECONDS:
            return known
        raise CostStoreError(
            f"The budgets in the database {database!r} cannot be read"
            f" ({type(error).__name__}), so nothing was sent. Try again."
        ) from error
    budgets = known.budgets if known.facts == facts else parsed(facts)
    # The version was known before the rows were read: at worst they are read once more.
    rows = _Rows(facts, budgets, began, known.version)
    if is_alone:  # a rollback would take back what was read in a transaction
        _read[database] = rows
    return rows


def _facts(database: str) -> tuple[tuple[Any, ...], ...]:
    try:
        return persist(database, facts_of_all)
    except DatabaseError:
        if transaction_of(database) != "caller":
            raise
        return apart(facts_of_all)  # the caller's transaction may be broken


def applied(
    budgets: list[BudgetSettings], info: CallInfo, model: str, at: datetime.datetime
) -> list[Applied]:
    """Return the budgets that a call falls under at a time."""
    found: list[Applied] = []
    values = _values_of(info, model)
    for budget in budgets:
        for value in values[budget.scope]():
            if budget.scope == "global" or (value and budget.key in ("", value)):
                mark, _, end = period(budget, at)
                found.append(
                    Applied(
                        budget=budget,
                        key=key_of(budget, value, mark),
                        limit=limit_of(budget),
                        resets_at=end,
                    )
                )
    return found


def _values_of(info: CallInfo, model: str) -> dict[str, Callable[[], list[str]]]:
    user = "" if info.user_id is None else str(info.user_id)
    return {
        "global": lambda: [""],
        "module": lambda: [info.module],
        "operation_type": lambda: [info.operation_type],
        "model": lambda: [model.removeprefix("models/")],
        "user": lambda: [user],
        "group": lambda: groups_of(info.user_id),
        "tenant": lambda: [info.scope],
    }


def groups_of(user_id: Any) -> list[str]:
    """Return the names of a user's groups, in order; a query, made for group budgets only."""
    if user_id is None:
        return []
    rows = get_user_model()._default_manager.filter(pk=user_id)
    names = rows.exclude(groups=None).values_list("groups__name", flat=True)
    return sorted(str(name) for name in names)


def holds_of(found: list[Applied], share: Callable[[int], int]) -> list[BudgetHold]:
    """Return one hold for each key, with the tightest enforced limit, cut to a store's share."""
    holds: dict[str, BudgetHold] = {}
    for each in found:
        limit = share(each.limit) if each.budget.enforce else None
        known = holds.get(each.key)
        if known is not None and known.limit_nano is not None:
            limit = known.limit_nano if limit is None else min(limit, known.limit_nano)
        end = None if each.resets_at is None else each.resets_at.timestamp()
        holds[each.key] = BudgetHold(
            key=each.key, limit_nano=limit, unit=each.budget.unit, ends_at=end
        )
    return list(holds.values())


def limit_of(budget: BudgetSettings) -> int:
    """Return the limit as the store counts it; a part of a nano-dollar is not spent."""
    if budget.unit == "usd":
        return nano_from_usd(budget.limit, rounding=ROUND_FLOOR)
    return int(budget.limit)


def key_of(budget: BudgetSettings, value: str, mark: str) -> str:
    """Return the key of a total: scope, value, period, and what is not the default."""
    scope = budget.scope if budget.scope == "global" else f"{budget.scope}={value}"
    zone = f"@{budget.time_zone}" if budget.time_zone else ""
    unit = "" if budget.unit == "usd" else f":{budget.unit}"
    return f"{scope}:{budget.period}:{mark}{zone}{unit}"


def unit_of(key: str) -> str:
    """Return what the total under a key counts."""
    unit = key.rpartition(":")[2]
    return unit if unit in ("tokens", "requests") else "usd"


def period_key(budget: BudgetSettings, at: datetime.datetime) -> str:
    """Return the key of a budget with a key of its own, or a global one, at a time."""
    return key_of(budget, budget.key, period(budget, at)[0])


def _zone_of(budget: BudgetSettings) -> zoneinfo.ZoneInfo:
    return zoneinfo.ZoneInfo(budget.time_zone or timezone.get_default_timezone_name())


def period(
    budget: BudgetSettings, at: datetime.datetime
) -> tuple[str, datetime.datetime | None, datetime.datetime | None]:
    """Return the name, the start and the end of a budget's period at a time.

    Days, weeks and months begin at local midnight, so that some have an hour more or less;
    hours are UTC hours, which are never ambiguous.
    """
    if budget.period == "total":
        return "always", None, None
    zone = _zone_of(budget)
    known = _periods.get((budget.period, zone.key))
    if known is None or not known[1] <= at < known[2]:
        known = _periods[budget.period, zone.key] = _period_at(budget, zone, at)
    return known


#: The last one that was asked for, by kind and time zone: most calls come within the same.
_periods: dict[tuple[str, str], tuple[str, datetime.datetime, datetime.datetime]] = {}


def _period_at(
    budget: BudgetSettings, zone: zoneinfo.ZoneInfo, at: datetime.datetime
) -> tuple[str, datetime.datetime, datetime.datetime]:
    day = at.astimezone(zone).date()
    if budget.period == "hour":
        start = at.astimezone(datetime.UTC).replace(minute=0, second=0, microsecond=0)
        return start.strftime("%Y-%m-%dT%HZ"), start, start + datetime.timedelta(hours=1)
    if budget.period == "day":
        mark, first, after = day.strftime("%Y-%m-%d"), day, day + datetime.timedelta(days=1)
    elif budget.period == "week":
        first = day - datetime.timedelta(days=day.weekday())
        mark, after = day.strftime("%G-W%V"), first + datetime.timedelta(days=7)
    else:
        first = day.replace(day=1)
        mark, after = day.strftime("%Y-%m"), (first + datetime.timedelta(days=32)).replace(day=1)
    start, end = (
        datetime.datetime.combine(each, datetime.time(), tzinfo=zone).astimezone(datetime.UTC)
        for each in (first, after)
    )
    return mark, start, end


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """One period of a budget; ``start`` and ``end`` are None for all time."""

    budget: BudgetSettings
    mark: str
    start: datetime.datetime | None
    end: datetime.datetime | None


def periods_at(at: datetime.datetime) -> list[Period]:
    """Return the period of every budget at a time."""
    return [_period(budget, at) for budget in in_force()]


def periods_between(first: datetime.date, last: datetime.date) -> list[Period]:
    """Return the periods of every budget that touch the days first to last, in its own zone."""
    found = []
    for budget in in_force():
        zone, day = _zone_of(budget), datetime.timedelta(days=1)
        at, until = (
            datetime.datetime.combine(each, datetime.time(), tzinfo=zone).astimezone(datetime.UTC)
            for each in (first, last + day)
        )
        while at < until:
            found.append(_period(budget, at))
            at = found[-1].end or until
    return found


def _period(budget: BudgetSettings, at: datetime.datetime) -> Period:
    mark, start, end = period(budget, at)
    return Period(budget=budget, mark=mark, start=start, end=end)
