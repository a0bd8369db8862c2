"""What the dashboard shows: figures of some days, budgets at this moment, and indexes."""

from __future__ import annotations

import datetime
from collections.abc import Collection
from dataclasses import dataclass, field
from decimal import Decimal

from django_obc_ai.backends.cost_stores import cost_stores
from django_obc_ai.conf import BudgetSettings
from django_obc_ai.exceptions import ConfigurationError, ObcAIError
from django_obc_ai.gateway import policy
from django_obc_ai.indexes import get_indexes
from django_obc_ai.models import DirtyRow, IndexFailure, IndexState
from django_obc_ai.querysets import current_day
from django_obc_ai.services import rollups
from django_obc_ai.services.tally import DIMENSIONS, Tally, percentile
from django_obc_ai.types import usd_from_nano

#: Dimensions of a breakdown that budgets of a scope count by.
_BUDGETED = {
    "module": "module",
    "operation_type": "operation_type",
    "model": "model",
    "user": "user",
    "tenant": "scope",
}
_MOST_GAUGES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What happened on some days of the project's time zone.

    Attributes:
        first: The first day.
        last: The last day.
        total: Of all days together; ``total.by`` holds the chosen dimension and users.
        before: The same of as many days before.
        days: By day, in order, days without operations included.
        by: The chosen dimension.
        left: Quarters of an hour that are not added up yet; the figures lack them.
    """

    first: datetime.date
    last: datetime.date
    total: Tally
    before: Tally
    days: dict[datetime.date, Tally]
    by: str
    left: int = 0


def read_figures(first: datetime.date, last: datetime.date, *, by: str = "module") -> Figures:
    """Add up the days first to last, and as many before them.

    Rollups that are missing are made first, up to a thousand; see `Figures.left`.

    Raises:
        ValueError: ``by`` is no dimension, or last lies before first.
    """
    if by not in DIMENSIONS:
        raise ValueError(f"Figures have no breakdown by {by!r}; choose from {list(DIMENSIONS)}.")
    if last < first:
        raise ValueError(f"The last day {last} lies before the first, {first}.")
    left = rollups.roll_up(most=1_000)
    length = (last - first).days + 1
    step = datetime.timedelta(days=1)
    days = rollups.read_days(first - step * length, last, by={by, "user"})
    total, before = Tally(), Tally()
    for day, each in days.items():
        (before if day < first else total).merge(each)
    days = {day: each for day, each in days.items() if day >= first}
    return Figures(first=first, last=last, total=total, before=before, days=days, by=by, left=left)


def hit_rate_of(tally: Tally) -> float | None:
    """Return cached answers in answers, 0 to 1; None without answers.

    Coalesced ones are neither: they were not in the cache, and nobody paid for them.
    """
    sums = tally.sums
    answered = sums["operations"] - sums["failures"] - sums["coalesced"]
    return sums["cached"] / answered if answered else None


def cache_saved_nano(tally: Tally) -> int:
    """Return what cached answers had cost when they were paid for, in nano-dollars."""
    return tally.sums["saved_nano"] - tally.sums["coalesced_nano"]


def mean_ms(tally: Tally) -> float | None:
    """Return the mean time of an answer that a provider gave, in milliseconds."""
    timed = tally.sums["timed"]
    return tally.sums["response_ms"] / timed if timed else None


def mean_wait_ms(tally: Tally) -> float | None:
    """Return how long an operation waited that had to, in milliseconds."""
    waited = tally.sums["waited"]
    return tally.sums["waited_ms"] / waited if waited else None


def success_rate_of(tally: Tally) -> float | None:
    """Return successes in operations, 0 to 1."""
    total = tally.sums["operations"]
    return 1 - tally.sums["failures"] / total if total else None


def failure_rate_of(tally: Tally) -> float | None:
    """Return failures in operations, 0 to 1."""
    total = tally.sums["operations"]
    return tally.sums["failures"] / total if total else None


def first_chunk_ms(tally: Tally) -> float | None:
    """Return the median time to the first piece of a stream, in milliseconds, within 5 %."""
    return percentile(tally.first_chunks, 0.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauge:
    """A budget in its present period.

    Attributes:
        budget: What was set.
        value: Whose total it is, for a budget of each module, user and so on; else its key.
        name: Scope, key and period in words.
        key: Of its total in the cost store.
        limit: In the budget's unit, as are the next three.
        spent: What is settled.
        held: What calls under way may still take.
        expected: What it comes to by the period's end at this pace; None if it never ends.
        starts_at: When the period began; None is always.
        resets_at: When the period is over; None is never.
        marks: Shares of the limit that are announced, in percent.
    """

    budget: BudgetSettings
    value: str
    name: str
    key: str
    limit: Decimal
    spent: Decimal
    held: Decimal
    expected: Decimal | None
    starts_at: datetime.datetime | None
    resets_at: datetime.datetime | None
    marks: tuple[int, ...] = field(default=())

    @property
    def used_percent(self) -> float:
        """Return what is spent and held, in percent of the limit."""
        used = self.spent + self.held
        return float(used * 100 / self.limit) if self.limit else (100.0 if used else 0.0)


def read_gauges(*, most: int | None = _MOST_GAUGES, without: Collection[str] = ()) -> list[Gauge]:
    """Return the budgets that are in force, the most used first.

    A budget for each module, user and so on is shown for those that had operations today.

    Args:
        most: So many at most; None is all.
        without: Scopes that are left out.

    Raises:
        CostStoreError: Budgets or totals cannot be read.
    """
    now = datetime.datetime.now(datetime.UTC)
    budgets = [each for each in policy.in_force() if each.scope not in without]
    today = current_day()
    wanted = [(each, value) for each in budgets for value in values_of(each, today, today)]
    keys = {(b, v): policy.key_of(b, v, policy.period(b, now)[0]) for b, v in wanted}
    totals = cost_stores["default"].totals(sorted(set(keys.values())))
    found = []
    for (budget, value), key in keys.items():
        _, start, end = policy.period(budget, now)
        spent, held = (
            _in_unit(amount, budget) for amount in (totals[key].spent_nano, totals[key].held_nano)
        )
        expected = None
        if start is not None and end is not None:
            passed = max((now - start) / (end - start), 0.01)
            expected = spent / Decimal(str(passed))
        found.append(
            Gauge(
                budget=budget,
                value=value,
                name=_name(budget, value),
                key=key,
                limit=budget.limit,
                spent=spent,
                held=held,
                expected=expected,
                starts_at=start,
                resets_at=end,
                marks=budget.alert_percent,
            )
        )
    return sorted(found, key=lambda each: -each.used_percent)[:most]


def values_of(budget: BudgetSettings, first: datetime.date, last: datetime.date) -> list[str]:
    """Return whose totals a budget has, of what had operations from first to last, in order.

    Of groups nobody knows: operations do not hold them.
    """
    if budget.scope == "global" or budget.key:
        return [budget.key]
    dimension = _BUDGETED.get(budget.scope)
    if dimension is None:
        return []
    days = rollups.read_days(first, last, by={dimension}).values()
    return sorted({each for day in days for each in day.by[dimension] if each})


def _name(budget: BudgetSettings, value: str) -> str:
    scope = "all calls" if budget.scope == "global" else f"{budget.scope} {value}"
    return f"{scope}, in total" if budget.period == "total" else f"{scope}, per {budget.period}"


def _in_unit(amount: int, budget: BudgetSettings) -> Decimal:
    return usd_from_nano(amount) if budget.unit == "usd" else Decimal(amount)


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexFreshness:
    """How far an index is behind its rows.

    Attributes:
        name: Of the index.
        is_built: Whether it can be searched.
        is_current: Whether it was built with the configured embedder and text template.
        waiting: Changed rows that are not indexed yet.
        oldest: When the first of them was changed.
        failures: Objects that could not be indexed when they were last tried.
        fault: Why the embedder cannot be asked, "" if it can.
    """

    name: str
    is_built: bool
    is_current: bool
    waiting: int
    oldest: datetime.datetime | None
    failures: int = 0
    fault: str = ""


def read_indexes() -> list[IndexFreshness]:
    """Return the state of each index, by name."""
    from django_obc_ai.services.indexing import IndexingService  # numpy: not at start-up

    found = []
    for index in get_indexes():
        states = IndexState.objects.using(index.database).filter(pk=index.name)
        rows = DirtyRow.objects.using(index.database).filter(index_name=index.name)
        failed = IndexFailure.objects.using(index.database).filter(index_name=index.name)
        oldest = rows.order_by("pk").values_list("created_at", flat=True).first()
        is_built, is_current, fault = states.exclude(serving=None).exists(), False, ""
        try:
            is_current = is_built and IndexingService().is_current(index.name)
        except (ObcAIError, ConfigurationError) as error:
            fault = str(error)
        found.append(
            IndexFreshness(
                name=index.name,
                is_built=is_built,
                is_current=is_current,
                failures=failed.count(),
                fault=fault,
                waiting=rows.count(),
                oldest=oldest,
            )
        )
    return found
