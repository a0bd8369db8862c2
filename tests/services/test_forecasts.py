"""The month's end: the right mean, an interval that holds what it says, and honest silence."""

from __future__ import annotations

import datetime
import random
from decimal import Decimal

import pytest

from django_obc_ai.services import forecasts
from django_obc_ai.services.forecasts import _predict, forecast_month
from tests.services.test_costs import spend

DATE = datetime.date
DAY = datetime.timedelta(days=1)
TODAY = DATE(2026, 7, 15)  # a Wednesday


def _cost(chance: random.Random, day: datetime.date, shape: float) -> float:
    """Costs as projects have them: weekends are quiet, single days stand out (gamma)."""
    mean = 2.0 if day.weekday() >= 5 else 10.0
    return chance.gammavariate(shape, mean / shape)


@pytest.mark.parametrize(("shape", "lowest"), [(20.0, 0.85), (3.0, 0.84), (1.0, 0.82)])
def test_nine_of_ten_simulated_months_end_within_the_interval(shape: float, lowest: float) -> None:
    chance = random.Random(2026)
    inside = 0
    runs = 1_000
    for _ in range(runs):
        start = TODAY - 56 * DAY
        history = {day: _cost(chance, day, shape) for day in (start + n * DAY for n in range(56))}
        left = [TODAY + n * DAY for n in range(17)]
        truth = sum(_cost(chance, day, shape) for day in left)
        expected, half = _predict(history, left, level=0.9)
        assert half is not None
        inside += abs(truth - expected) <= half
    assert lowest <= inside / runs <= 0.97


def test_means_go_by_the_day_of_the_week() -> None:
    history = {TODAY - n * DAY: float((TODAY - n * DAY).weekday() >= 5) for n in range(1, 57)}
    left = [DATE(2026, 7, 17), DATE(2026, 7, 18), DATE(2026, 7, 19), DATE(2026, 7, 20)]
    assert _predict(history, left, level=0.9) == (2.0, 0.0)


def test_the_interval_is_students() -> None:
    """Two-sided quantiles from a printed table."""
    for level, freedom, wanted in [(0.9, 10, 1.812), (0.95, 49, 2.010), (0.8, 7, 1.415)]:
        assert forecasts._student(level, freedom) == pytest.approx(wanted, abs=0.003)


@pytest.mark.parametrize("days", [0, 1, 13])
def test_little_history_gives_no_interval(days: int) -> None:
    history = {TODAY - n * DAY: 1.0 for n in range(1, days + 1)}
    expected, half = _predict(history, [TODAY], level=0.9)
    assert half is None
    assert expected == (1.0 if days else 0.0)


@pytest.mark.django_db
class TestAMonth:
    def test_spent_money_and_days_to_come_are_added(self) -> None:
        for n in range(1, 60):
            day = TODAY - n * DAY
            spend("2", f"{day}T04:00", scope="a")
            spend("1", f"{day}T05:00", scope="b")
        spend("0.5", f"{TODAY}T00:00", scope="a")
        found = forecast_month(today=TODAY)
        assert found.spent_usd == Decimal("42.5")
        assert found.expected_usd == 31 * 3
        assert (found.low_usd, found.high_usd) == (93, 93)
        assert found.history_days == 56
        assert forecast_month(today=TODAY, scope="a").expected_usd == 62
        assert forecast_month(today=TODAY, scope="b").expected_usd == 31

    def test_it_never_expects_less_than_is_spent(self) -> None:
        for n in range(1, 60):
            spend("0.01", f"{TODAY - n * DAY}T04:00")
        spend("100", f"{TODAY}T00:00")
        found = forecast_month(today=TODAY)
        assert found.expected_usd == found.spent_usd.quantize(Decimal("0.01"))
        assert found.low_usd is not None and found.low_usd >= found.spent_usd

    def test_days_without_calls_count_as_0(self) -> None:
        spend("1", "2026-05-01T04:00")
        spend("28", "2026-07-08T04:00")
        found = forecast_month(today=TODAY)
        # Wednesdays: one of eight cost 28. Three are left: 15, 22 and 29 July.
        assert found.expected_usd == 28 + Decimal("3.5") * 3

    def test_a_ledger_without_rows_expects_nothing(self) -> None:
        found = forecast_month(today=TODAY)
        assert (found.spent_usd, found.expected_usd, found.low_usd) == (0, 0, None)
