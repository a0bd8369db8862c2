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
from django_obc_ai.services.background import BEAT, Background, Queue, TaskRun
from django_obc_ai.services.figures import Figures, Gauge, IndexFreshness
from django_obc_ai.services.limits import LimitState, limits_now
from django_obc_ai.services.pauses import Pause
from django_obc_ai.services.tally import Tally
from django_obc_ai.testing import override_ai
from django_obc_ai.types.coordination import GateState
from tests.gates import gates

TODAY = datetime.date(2026, 11, 28)


@pytest.fixture(autouse=True)
def _own_spool(tmp_path: Path) -> Iterator[None]:
    with override_ai(LOG={"spool": str(tmp_path)}):
        yield


def figures(*, unknown: int = 0, fallbacks: int = 0, **errors: int) -> Figures:
    day, total = Tally(errors=dict(errors)), Tally()
    day.sums["fallbacks"] = fallbacks
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


def said(
    found: Figures | None = None, *, gauges: Any = (), indexes: Any = (), **more: Any
) -> list[Any]:
    return attention.read_concerns(found or figures(), gauges, indexes, **more)


def limits_of(**state: Any) -> list[LimitState]:
    with gates({"paid": GateState(**state)}):
        return limits_now()


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


# --- providers -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("reason", "why"),
    [
        ("throttled", "too much is asked of it"),
        ("quota", "its daily quota is used up"),
        ("breaker", "it failed several times in a row"),
    ],
)
def test_a_closed_provider_says_why_and_until_when(reason: str, why: str) -> None:
    until = datetime.datetime(2026, 11, 28, 16, 5, 9, tzinfo=datetime.UTC)
    (concern,) = said(limits=limits_of(reason=reason, until=until.timestamp()))
    assert "The provider paid is closed until 2026-11-29 00:05:09: " in concern.message
    assert why in concern.message
    assert (concern.about, concern.key, concern.is_urgent) == ("provider", "paid", True)


@pytest.mark.parametrize(("today", "is_urgent"), [(1_350, False), (1_499, False), (1_500, True)])
def test_a_day_that_is_nearly_used_up_is_said(today: int, is_urgent: bool) -> None:
    (concern,) = said(limits=limits_of(today=today))
    assert concern.message.startswith(f"{today:,} of the 1,500 requests that the provider paid")
    assert concern.is_urgent == is_urgent


def test_a_day_that_the_provider_has_closed_is_said_once() -> None:
    (concern,) = said(limits=limits_of(reason="quota", today=1_500))
    assert concern.message.startswith("The provider paid is closed:")


def test_an_open_provider_is_no_concern() -> None:
    assert said(limits=limits_of(requests=60, today=1_349, failures=2)) == []
    assert said(limits=limits_of(reason="reopening")) == []


def test_a_coordinator_that_is_away_is_said_once() -> None:
    with gates({"one": GateState(), "two": GateState()}, is_away=True):
        (concern,) = said(limits=limits_now())
    assert "The coordinator does not answer" in concern.message
    assert not concern.is_urgent


def test_paused_providers_are_named() -> None:
    at = datetime.datetime(2026, 11, 28, 16, tzinfo=datetime.UTC)
    given = {"alias": "dear", "reason": "a strange bill", "paused_by": "amina", "since": at}
    for_good, for_now = said(paused=[Pause(until=None, **given), Pause(until=at, **given)])
    assert for_good.message == ("The provider dear is paused, and asked by nobody: a strange bill")
    assert "is paused until 2026-11-29 00:00, and" in for_now.message
    assert for_good.is_urgent and for_good.about == "provider"


def test_fallbacks_of_the_last_day_are_said() -> None:
    (concern,) = said(figures(fallbacks=12))
    assert concern.message == (
        "12 operations were sent to another provider than the one that was asked, on 2026-11-28."
    )
    assert (concern.about, concern.is_urgent) == ("fallbacks", False)


# --- work in the background --------------------------------------------------------------------
NOW = datetime.datetime(2026, 11, 28, 4, tzinfo=datetime.UTC)


def behind(**values: Any) -> list[tuple[str, str, bool]]:
    """What is said of a background with these figures, beside a beat of a moment ago."""
    given = {"now": NOW, "is_immediate": False, "workers": 1, "tasks": (beat(5),)}
    found = Background(**{**given, **values})
    return [(each.about, each.message, each.is_urgent) for each in said(background=found)]


def beat(seconds: float, **values: Any) -> TaskRun:
    at = NOW - datetime.timedelta(seconds=seconds)
    given = {"name": BEAT, "started_at": at, "finished_at": at, "is_ok": True, "error_category": ""}
    return TaskRun(**{**given, **values})


def queue(seconds: float) -> Queue:
    at = NOW - datetime.timedelta(seconds=seconds)
    return Queue(provider="default", waiting=12, oldest_at=at, due_at=at)


def test_nothing_is_said_of_a_background_that_works() -> None:
    assert behind(queues=(queue(30),)) == []
    assert behind(is_immediate=True, tasks=(), workers=0) == []


def test_jobs_without_a_worker_are_urgent() -> None:
    text = "12 jobs wait, and no worker was seen within the last 2 minutes. Start a worker."
    assert behind(queues=(queue(90),), workers=0) == [("workers", text, True)]


def test_a_broker_that_is_away_is_urgent() -> None:
    ((about, text, is_urgent),) = behind(broker_fault="It is away.")
    assert (about, is_urgent) == ("workers", True) and text.endswith("submitted: It is away.")


def test_jobs_that_wait_for_long_say_what_to_do() -> None:
    text = "A job has waited for a worker for 30 minutes. Start more workers."
    assert behind(queues=(queue(1800),)) == [("jobs", text, False)]
    ((_, text, _),) = behind(queues=(queue(1800),), is_immediate=True)
    assert text.endswith("Run: manage.py run_jobs")


def test_a_schedule_that_stands_still_is_said() -> None:
    ((about, text, _),) = behind(tasks=(beat(3600),))
    assert about == "schedule" and "last worked at 2026-11-28 11:00" in text  # in Manila
    assert text.endswith("Start the scheduler, or more workers if the line at the broker is long.")
    assert "The schedule never worked" in behind(tasks=())[0][1]


def test_workers_that_are_gone_are_said_once_and_the_scheduler_is_not_blamed() -> None:
    text = "No worker was seen within the last 2 minutes; one was there 60 minutes ago. Nothing is"
    text += " indexed, and the schedule stands still. Start a worker."
    assert behind(tasks=(beat(3600),), workers=0) == [("workers", text, False)]
    queues = (queue(90),)
    ((about, text, is_urgent),) = behind(queues=queues, tasks=(beat(3600),), workers=0)
    assert (about, is_urgent) == ("workers", True) and text.startswith("12 jobs wait")
    ((about, text, _),) = behind(tasks=(), workers=0)
    assert about == "schedule" and text.endswith("Start a worker.")


def test_failed_jobs_and_tasks_are_said() -> None:
    failed = beat(5, name="send_cost_report", is_ok=False, error_category="transient")
    assert behind(ended={"failed": 1, "succeeded": 9}, tasks=(beat(5), failed)) == [
        ("tasks", "The scheduled task send_cost_report failed last time: transient.", False),
        ("jobs", "1 job has failed in the last 24 hours.", False),
    ]
