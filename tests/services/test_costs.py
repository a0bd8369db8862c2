"""CostTracker: days, months and breakdowns in the project's time zone."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import pytest
from django.test import override_settings
from django.utils import timezone

from django_obc_ai.models import AIOperation
from django_obc_ai.services.costs import CostTracker

pytestmark = pytest.mark.django_db
DATE = datetime.date


def spend(cost: Any, at: str, **values: Any) -> None:
    AIOperation.objects.create(
        provider="default",
        success=True,
        prompt_hash="",
        cost_usd=cost,
        created_at=datetime.datetime.fromisoformat(f"{at}+00:00"),
        **values,
    )


def _now_is(monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    now = datetime.datetime.fromisoformat(f"{moment}+00:00")
    monkeypatch.setattr(timezone, "now", lambda: now)


def test_without_calls_nothing_is_spent() -> None:
    tracker = CostTracker()
    today = timezone.localdate()
    for cost in (tracker.get_daily_cost(), tracker.get_monthly_cost()):
        assert (type(cost), cost) == (Decimal, Decimal(0))
    assert tracker.get_cost_breakdown(today, today) == []


def test_a_day_is_that_of_the_project() -> None:
    spend(1, "2026-07-01T15:59:59.999999")  # 1 July, 23:59:59 in Manila
    spend(10, "2026-07-01T16:00")  # 2 July, 00:00 in Manila
    tracker = CostTracker()
    assert tracker.get_daily_cost(DATE(2026, 7, 1)) == 1
    assert tracker.get_daily_cost(DATE(2026, 7, 2)) == 10
    with override_settings(TIME_ZONE="UTC"):
        assert tracker.get_daily_cost(DATE(2026, 7, 1)) == 11


def test_a_moment_stands_for_its_date() -> None:
    spend(1, "2026-07-01T01:00")
    assert CostTracker().get_daily_cost(datetime.datetime(2026, 7, 1, 23, 59)) == 1  # noqa: DTZ001


def test_today_is_the_project_s_today_whatever_zone_is_active(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spend(1, "2026-07-31T15:00")
    spend(10, "2026-07-31T17:00")  # 1 August in Manila
    _now_is(monkeypatch, "2026-07-31T18:00")
    with timezone.override("America/New_York"):
        assert CostTracker().get_daily_cost() == 10
        assert CostTracker().get_monthly_cost() == 10


@pytest.mark.parametrize(("day", "hours"), [(DATE(2026, 3, 8), 23), (DATE(2026, 11, 1), 25)])
def test_days_of_23_and_of_25_hours_are_whole(day: datetime.date, hours: int) -> None:
    with override_settings(TIME_ZONE="America/New_York"):
        start = datetime.datetime.combine(
            day, datetime.time(), tzinfo=timezone.get_default_timezone()
        )
        first = start.astimezone(datetime.UTC).replace(tzinfo=None)
        for hour in range(-30, 31):
            moment = first + datetime.timedelta(hours=hour, minutes=30)
            spend(Decimal("0.000000001"), moment.isoformat())
        assert CostTracker().get_daily_cost(day) == Decimal("0.000000001") * hours


def test_a_month_reaches_from_its_first_to_its_last_moment() -> None:
    spend(1, "2024-01-31T15:59:59")
    spend(10, "2024-01-31T16:00")  # 1 February
    spend(100, "2024-02-29T15:59:59")  # the last second of a leap February
    spend(1_000, "2024-02-29T16:00")
    tracker = CostTracker()
    assert tracker.get_monthly_cost(2024, 2) == 110
    assert tracker.get_monthly_cost(year=2024, month=1) == 1
    assert tracker.get_monthly_cost(2024, 3) == 1_000
    assert tracker.get_monthly_cost(2023, 2) == 0


def test_december_ends_with_the_year() -> None:
    spend(1, "2026-12-31T15:59:59")
    spend(10, "2026-12-31T16:00")
    assert CostTracker().get_monthly_cost(2026, 12) == 1
    assert CostTracker().get_monthly_cost(2027, 1) == 10


def test_missing_parts_of_a_month_are_todays(monkeypatch: pytest.MonkeyPatch) -> None:
    spend(1, "2026-05-10T00:00")
    spend(10, "2025-07-10T00:00")
    spend(100, "2026-07-10T00:00")
    _now_is(monkeypatch, "2026-07-15T00:00")
    tracker = CostTracker()
    assert tracker.get_monthly_cost() == 100
    assert tracker.get_monthly_cost(month=5) == 1
    assert tracker.get_monthly_cost(2025) == 10


@pytest.mark.parametrize("month", [0, 13, -1])
def test_a_month_that_is_none_is_refused(month: int) -> None:
    with pytest.raises(ValueError, match="month"):
        CostTracker().get_monthly_cost(2026, month)


def test_a_year_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="year"):
        CostTracker().get_monthly_cost(0, 1)


def test_a_breakdown_takes_both_days_in() -> None:
    for day in ("2026-06-30", "2026-07-01", "2026-07-02", "2026-07-03"):
        spend(1, f"{day}T04:00", module="mana")
    rows = CostTracker().get_cost_breakdown(DATE(2026, 7, 1), DATE(2026, 7, 2))
    assert rows == [
        {
            "key": "mana",
            "cost": Decimal(2),
            "operations": 2,
            "failures": 0,
            "cached": 0,
            "coalesced": 0,
            "tokens": 0,
        }
    ]


def test_each_key_groups_by_its_own_property() -> None:
    spend(1, "2026-07-01T04:00", module="m", operation_type="o", model_used="x")
    first = last = DATE(2026, 7, 1)
    tracker = CostTracker()
    keys = {
        by: [row["key"] for row in tracker.get_cost_breakdown(first, last, by=by)]  # type: ignore[arg-type]
        for by in ("module", "operation_type", "model", "user", "day")
    }
    assert keys == {
        "module": ["m"],
        "operation_type": ["o"],
        "model": ["x"],
        "user": [None],
        "day": [DATE(2026, 7, 1)],
    }


def test_an_unknown_key_names_the_nearest() -> None:
    day = DATE(2026, 7, 1)
    with pytest.raises(ValueError, match=r"no breakdown by 'modules'\. Did you mean 'module'\?"):
        CostTracker().get_cost_breakdown(day, day, by="modules")  # type: ignore[arg-type]


def test_an_end_before_the_start_is_refused() -> None:
    with pytest.raises(ValueError, match="The end 2026-06-30 lies before the start 2026-07-01"):
        CostTracker().get_cost_breakdown(DATE(2026, 7, 1), DATE(2026, 6, 30))
