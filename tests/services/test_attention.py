"""What needs a hand: each thing is said once, with what to do, the urgent first."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from django_obc_ai.conf import BudgetSettings, get_settings
from django_obc_ai.gateway import spool
from django_obc_ai.services import attention
from django_obc_ai.services.figures import Figures, Gauge, IndexFreshness
from django_obc_ai.services.tally import Tally
from django_obc_ai.testing import override_ai

TODAY = datetime.date(2026, 11, 28)


@pytest.fixture(autouse=True)
def _own_spool(tmp_path: Path) -> Iterator[None]:
    with override_ai(LOG={"spool": str(tmp_path)}):
        yield


def figures(*, unknown: int = 0, **errors: int) -> Figures:
    day, total = Tally(errors=dict(errors)), Tally()
    total.sums["cost_unknown"] = unknown
    days = {TODAY: day}
    return Figures(first=TODAY, last=TODAY, total=total, before=Tally(), days=days, by="module")


def gauge(used: str, *, expected: str = "1", enforce: bool = True) -> Gauge:
    budget = BudgetSettings(scope="global", period="day", limit=Decimal(10), enforce=enforce)
    return Gauge(
        budget=budget,
        value="",
        name="all calls, per day",
        key="global:day:2026-11-28",
        limit=budget.limit,
        spent=Decimal(used),
        held=Decimal(0),
        expected=Decimal(expected),
        starts_at=None,
        resets_at=datetime.datetime(2026, 11, 28, 16, tzinfo=datetime.UTC),
        marks=(75, 90),
    )


def index(**values: Any) -> IndexFreshness:
    given = {"name": "places", "is_built": True, "is_current": True, "waiting": 0, "oldest": None}
    return IndexFreshness(**{**given, **values})


def said(found: Figures | None = None, *, gauges: Any = (), indexes: Any = ()) -> list[Any]:
    return attention.read_concerns(found or figures(), gauges, indexes)


def test_nothing_is_said_where_all_is_well() -> None:
    assert said(figures(timeout=9), gauges=[gauge("7.4")], indexes=[index()]) == []


@pytest.mark.parametrize(("used", "more", "message", "is_urgent"), [
    ("10", {}, "used up (100 %); calls are refused until 2026-11-29 00:00.", True),
    ("12", {"enforce": False}, "used up (120 %); it is not enforced.", False),
    ("9.5", {}, "has passed 90 % of its limit.", False),
    ("7.5", {}, "has passed 75 % of its limit.", False),
    ("3", {"expected": "11"}, "At this pace the budget of all calls, per day", False),
])  # fmt: skip
def test_budgets_say_how_far_they_are(
    used: str, more: dict[str, Any], message: str, is_urgent: bool
) -> None:
    (concern,) = said(gauges=[gauge(used, **more)])
    assert message in concern.message
    assert (concern.about, concern.is_urgent) == ("budget", is_urgent)


def test_a_forecast_early_in_a_period_is_not_told() -> None:
    assert said(gauges=[gauge("2", expected="40")]) == []


@pytest.mark.parametrize(("values", "message", "is_urgent"), [
    ({"fault": "No package."}, "The index places has a fault: No package.", True),
    ({"is_built": False}, "is not built. Run: manage.py ai_index places", True),
    ({"is_current": False}, "settings of the index places changed", False),
    ({"waiting": 3, "oldest": 2}, "3 changes wait for the index places since", False),
])  # fmt: skip
def test_indexes_say_what_to_do(values: dict[str, Any], message: str, is_urgent: bool) -> None:
    if "oldest" in values:
        hours = datetime.timedelta(hours=values["oldest"])
        values = {**values, "oldest": timezone.now() - hours}
    (concern,) = said(indexes=[index(**values)])
    assert message in concern.message and concern.is_urgent == is_urgent


def test_changes_of_the_last_hour_are_no_concern() -> None:
    assert said(indexes=[index(waiting=3, oldest=timezone.now())]) == []


def test_operations_on_disk_are_said_and_broken_ones_first(tmp_path: Path) -> None:
    mark = spool.mark_of(get_settings().database)
    for number in range(2):
        (tmp_path / f"{mark}-{number}{spool.SUFFIX}").touch()
    (tmp_path / f"x{spool.BROKEN}").touch()
    broken, waiting = said()
    assert broken.is_urgent and "1 operation was set aside" in broken.message
    assert "2 operations are waiting on disk" in waiting.message
    assert "ai_drain_spool" in waiting.message


def test_failures_that_come_again_and_unknown_prices_are_said() -> None:
    refused, unknown = said(figures(unknown=1_200, authentication=2, timeout=7))
    assert refused.message == "The provider refused the key 2 times on 2026-11-28."
    assert (refused.key, refused.is_urgent) == ("authentication", True)
    assert unknown.message.startswith("1,200 operations have a presumed cost")
