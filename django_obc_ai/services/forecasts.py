"""What a month will cost by its end, and how sure that is."""

from __future__ import annotations

import calendar
import datetime
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from statistics import NormalDist

from django_obc_ai.models import Ledger
from django_obc_ai.querysets import current_day, day_bounds
from django_obc_ai.types import usd_from_nano

_HISTORY_DAYS = 56  # eight of each day of the week: enough for a mean, short enough to follow
_LEAST_FREEDOM = 7  # with fewer days to spare no interval is given
_CENT = Decimal("0.01")


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """A month's cost at its end.

    Attributes:
        scope: The tenant; None for all together.
        month: Its first day.
        spent_usd: What was spent so far, exact.
        expected_usd: What it will be, in whole cents.
        low_usd: Lower end of the interval, never below what is spent; None with little history.
        high_usd: Upper end of the interval; None with little history.
        level: How often the interval shall hold the truth, 0 to 1.
        history_days: Complete days that it rests on.
    """

    scope: str | None
    month: datetime.date
    spent_usd: Decimal
    expected_usd: Decimal
    low_usd: Decimal | None
    high_usd: Decimal | None
    level: float
    history_days: int


def forecast_month(
    *, scope: str | None = None, today: datetime.date | None = None, level: float = 0.9
) -> Forecast:
    """Forecast the cost of the month that a day lies in.

    Each day that is left, today included, is expected to cost the mean of its day of the week
    over the last 56 complete days. The interval is that of a prediction: the days' own scatter
    around those means, and the means' own uncertainty, by Student's t. It takes days to be
    independent and the level of use to stay as it was; it cannot know of what you are about to
    launch.

    Args:
        scope: One tenant; None takes all.
        today: The day it is; the project's today by default.
        level: How often the interval shall hold the truth.
    """
    today = today or current_day()
    first = today.replace(day=1)
    last = today.replace(day=calendar.monthrange(today.year, today.month)[1])
    costs = _daily_costs(today - datetime.timedelta(days=_HISTORY_DAYS), today, scope)
    spent = Ledger.of_days(first, today, scope=scope).total_cost()
    spent_today = costs.pop(today, 0.0)
    left = [today + datetime.timedelta(days=n) for n in range((last - today).days + 1)]
    before = float(spent) - spent_today
    expected, half = _predict(costs, left, level=level)
    most = max(float(spent), before + expected)
    return Forecast(
        scope=scope,
        month=first,
        spent_usd=spent,
        expected_usd=_usd(most),
        low_usd=None if half is None else max(spent, _usd(before + expected - half)),
        high_usd=None if half is None else _usd(max(most, before + expected + half)),
        level=level,
        history_days=len(costs),
    )


def _predict(
    history: Mapping[datetime.date, float], days: Sequence[datetime.date], *, level: float
) -> tuple[float, float | None]:
    """Return the expected sum of some days, and half the width of its prediction interval.

    Args:
        history: Cost of complete days.
        days: Days to come.
        level: 0 to 1.
    """
    by_weekday: dict[int, list[float]] = {}
    for day, cost in history.items():
        by_weekday.setdefault(day.weekday(), []).append(cost)
    overall = sum(history.values()) / len(history) if history else 0.0
    means = {each: sum(costs) / len(costs) for each, costs in by_weekday.items()}
    expected = sum(means.get(day.weekday(), overall) for day in days)
    freedom = len(history) - len(means)
    if freedom < _LEAST_FREEDOM:
        return expected, None
    scatter = sum((cost - means[day.weekday()]) ** 2 for day, cost in history.items()) / freedom
    left: dict[int, int] = {}
    for day in days:
        left[day.weekday()] = left.get(day.weekday(), 0) + 1
    counts = {each: len(costs) for each, costs in by_weekday.items()}
    of_means = sum(n * n / counts.get(each, 1) for each, n in left.items())
    return expected, _student(level, freedom) * math.sqrt(scatter * (len(days) + of_means))


def _student(level: float, freedom: int) -> float:
    """Return the two-sided quantile of Student's t, by its expansion around the normal one."""
    z = NormalDist().inv_cdf((1 + level) / 2)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    return z + first / freedom + second / freedom**2


def _daily_costs(
    first: datetime.date, today: datetime.date, scope: str | None
) -> dict[datetime.date, float]:
    """Return cost by day from the first day of use on; days without calls cost 0."""
    rows = Ledger.of_days(first, today, scope=scope)
    # Float: these are statistics, rounded to cents in the end; no sum of money rests on them.
    found = {row["key"]: float(row["cost"]) for row in rows.breakdown("day")}
    if not found:
        return {}
    start = first
    before, _ = day_bounds(first, first)
    if not Ledger(end=before, scope=scope).exists():
        start = min(found) + datetime.timedelta(days=1)  # the first call's day was no whole one
        found = {day: cost for day, cost in found.items() if day >= start or day == today}
    days = (today - start).days
    empty = {start + datetime.timedelta(days=n): 0.0 for n in range(days)}
    return {**empty, **found}


def _usd(amount: float) -> Decimal:
    return usd_from_nano(round(amount * 1e9)).quantize(_CENT)
