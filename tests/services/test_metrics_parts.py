"""Budgets, spool and indexes as a monitoring system sees them, and parts that fail."""

from __future__ import annotations

import datetime
import random
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError
from django.utils import timezone

from django_obc_ai.exceptions import CostStoreError, TaskRunnerError
from django_obc_ai.gateway import spool
from django_obc_ai.models import DirtyRow
from django_obc_ai.services import _ledger_total, metrics
from django_obc_ai.services.text import TextService
from django_obc_ai.testing import Reply, index_now, override_ai
from django_obc_ai.types import Usage
from django_obc_ai.types.coordination import GateState
from django_obc_ai.types.jobs import FINAL_STATUSES
from tests.background import job, runner, task, worker
from tests.gates import gates
from tests.gateway.conftest import PRICES
from tests.services.test_rollups import operation
from tests.testapp.models import Place

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _anew() -> Iterator[None]:
    _ledger_total.forget()
    yield
    _ledger_total.forget()


def values() -> dict[tuple[str, ...], Any]:
    return {
        (each.metric.name, *each.labels): each.value
        for each in metrics.read_metrics()
        if not each.buckets
    }


def test_no_sample_tells_users_or_tenants_apart(django_user_model: Any) -> None:
    user = django_user_model.objects.create(pk=987_654, username="somebody")
    budgets = [
        {"scope": "user", "period": "day", "limit_usd": "5"},
        {"scope": "user", "key": "987654", "period": "month", "limit_usd": "5"},
        {"scope": "tenant", "period": "day", "limit_usd": "5"},
        {"scope": "module", "period": "day", "limit_usd": "5"},
    ]
    with override_ai([Reply("A", usage=Usage(input_tokens=9))], PRICES=PRICES, BUDGETS=budgets):
        TextService().generate_text("Q", user=user, scope="north", module="mana")
        samples = metrics.read_metrics()
    told = {label for each in samples for label in each.labels}
    assert {"module", "mana"} <= told
    assert not told & {"987654", "user", "tenant", "north", "somebody"}


def test_budgets_are_told_with_what_is_spent_held_and_left() -> None:
    budgets = [
        {"scope": "global", "period": "day", "limit_usd": "0.002"},
        {"scope": "global", "period": "day", "limit_usd": "0.004", "enforce": False},
        {"scope": "global", "period": "day", "limit_usd": "0.001"},  # the tighter of two
        {"scope": "global", "period": "month", "limit_requests": 10, "time_zone": "Asia/Tokyo"},
    ]
    usage = Usage(input_tokens=100, output_tokens=100)
    with override_ai([Reply("A", usage=usage)], PRICES=PRICES, BUDGETS=budgets):
        TextService().generate_text("Q", max_output_tokens=150).raise_for_error()
        found = values()
    day = ("global", "", "day", "usd", "true", "")
    assert found["obc_ai_budget_limit", *day] == Decimal("0.001")
    assert found["obc_ai_budget_spent", *day] == Decimal("0.0005")
    assert found["obc_ai_budget_used_ratio", *day] == 0.5
    soft = ("global", "", "day", "usd", "false", "")
    assert found["obc_ai_budget_limit", *soft] == Decimal("0.004")
    tokyo = ("global", "", "month", "requests", "true", "Asia/Tokyo")
    assert (found["obc_ai_budget_spent", *tokyo], found["obc_ai_budget_held", *tokyo]) == (1, 0)


@pytest.mark.parametrize(
    ("part", "place", "error"),
    [
        ("ledger", "django_obc_ai.services.rollups.roll_up", DatabaseError("gone")),
        ("budgets", "django_obc_ai.services.figures.read_gauges", CostStoreError("gone")),
        ("spool", "django_obc_ai.gateway.spool.find", OSError("gone")),
        ("indexes", "django_obc_ai.services.figures.read_indexes", DatabaseError("gone")),
        ("limits", "django_obc_ai.services.metrics.limits_now", RuntimeError("gone")),
        ("jobs", "django_obc_ai.services.metrics.read_background", DatabaseError("gone")),
        ("broker", "django_obc_ai.services.metrics.count_at_broker", TaskRunnerError("gone")),
    ],
)
def test_a_part_that_fails_is_told_and_takes_no_other_with_it(
    monkeypatch: pytest.MonkeyPatch, part: str, place: str, error: Exception
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(place, fail)
    found = values()
    up = {name[1]: value for name, value in found.items() if name[0] == "obc_ai_part_up"}
    parts = ("ledger", "budgets", "spool", "indexes", "limits", "jobs", "broker")
    assert up == {each: int(each != part) for each in parts}


def test_a_cost_store_out_of_reach_is_told() -> None:
    pytest.importorskip("redis")
    lost = {
        "BACKEND": "django_obc_ai.backends.cost_stores.redis.RedisCostStore",
        "OPTIONS": {"url": "redis://127.0.0.1:9/0"},
    }
    budgets = [{"scope": "global", "period": "day", "limit_usd": "5"}]
    with override_ai(["A"], COST_STORES={"default": lost}, BUDGETS=budgets):
        assert values()["obc_ai_part_up", "budgets"] == 0


def test_what_waits_on_disk_is_counted(tmp_path: Path) -> None:
    with override_ai(["A"], LOG={"spool": tmp_path / "spool"}):
        assert spool.write(operation(random.Random(1), timezone.now()), "default")
        (tmp_path / "spool" / "x.broken").write_text("?")
        found = values()
    assert (found["obc_ai_spool_waiting",], found["obc_ai_spool_set_aside",]) == (1, 1)


def test_an_index_is_told_with_what_waits_for_it() -> None:
    with override_ai():
        found = values()
        assert (found["obc_ai_index_ready", "places"], found["obc_ai_index_waiting", "places"]) == (
            0, 0,
        )  # fmt: skip
        index_now("places")
        Place.objects.create(name="Marawi", province="Lanao")
        (row,) = DirtyRow.objects.all()
        row.created_at = timezone.now() - datetime.timedelta(hours=1)
        row.save()
        found = values()
    assert (found["obc_ai_index_ready", "places"], found["obc_ai_index_waiting", "places"]) == (
        1,
        1,
    )
    assert found["obc_ai_index_lag_seconds", "places"] >= 3600


def test_limits_tell_what_is_used_and_who_is_closed() -> None:
    state = GateState(requests=45, tokens=9, today=7, in_flight=2, waiting=3, reason="quota")
    with gates({"paid": state}):
        found = values()
    told = {name[1:]: value for name, value in found.items() if name[0] == "obc_ai_provider_used"}
    assert told == {("paid", "requests"): 45, ("paid", "tokens"): 9, ("paid", "day"): 7}
    assert found["obc_ai_provider_limit", "paid", "day"] == 1_500
    assert found["obc_ai_provider_waiting", "paid"] == 3
    assert found["obc_ai_provider_in_flight", "paid"] == 2
    closed = {name[2]: value for name, value in found.items() if "provider_closed" in name[0]}
    assert closed == {"throttled": 0, "quota": 1, "breaker": 0}
    assert found["obc_ai_part_up", "limits"] == 1


def test_a_coordinator_that_is_away_is_a_part_that_is_down() -> None:
    with gates({"paid": GateState()}, is_away=True):
        found = values()
    assert found["obc_ai_part_up", "limits"] == 0
    assert not [name for name in found if name[0].startswith("obc_ai_provider")]


# --- work in the background --------------------------------------------------------------------
def test_jobs_are_told_by_provider_and_by_how_they_ended() -> None:
    minute = datetime.timedelta(minutes=1)
    job(10 * minute)
    job(status="running", provider="gone")
    job(minute, status="failed")
    job(90 * minute, status="failed")
    worker()
    task(ago=minute)
    task("check_budgets", is_ok=False)
    with override_ai(TASK_RUNNERS=runner(waiting=7)):
        found = values()
    assert found["obc_ai_jobs_waiting", "default"] == 1
    assert found["obc_ai_jobs_running", "gone"] == 1
    for name in ("oldest", "untaken"):
        assert 600 <= found[f"obc_ai_jobs_{name}_seconds", "default"] < 660
        assert found[f"obc_ai_jobs_{name}_seconds", "gone"] == 0
    ended = {status: found["obc_ai_jobs_ended", status] for status in FINAL_STATUSES}
    assert ended == {"succeeded": 0, "failed": 1, "cancelled": 0}
    assert found["obc_ai_workers",] == 1 and found["obc_ai_tasks_at_broker",] == 7
    assert 60 <= found["obc_ai_task_age_seconds", "recover_jobs"] < 120
    assert found["obc_ai_task_ok", "recover_jobs"] == 1
    assert found["obc_ai_task_ok", "check_budgets"] == 0


def test_a_task_that_failed_long_ago_and_is_started_no_more_is_no_alert() -> None:
    task("check_budgets", datetime.timedelta(hours=2), is_ok=False)
    with override_ai(TASK_RUNNERS=runner()):
        found = values()
    assert found["obc_ai_task_ok", "check_budgets"] == 1
    assert found["obc_ai_task_age_seconds", "check_budgets"] >= 7200


def test_without_a_broker_neither_workers_nor_its_tasks_are_told() -> None:
    with override_ai():
        found = values()
    assert found["obc_ai_jobs_waiting", "default"] == 0
    assert not {("obc_ai_workers",), ("obc_ai_tasks_at_broker",)} & set(found)
    assert found["obc_ai_part_up", "broker"] == 1


def test_a_broker_that_is_away_is_down_and_the_jobs_are_told() -> None:
    job()
    with override_ai(TASK_RUNNERS=runner(fault="It is away.")):
        found = values()
    assert found["obc_ai_part_up", "broker"] == 0 and found["obc_ai_part_up", "jobs"] == 1
    assert found["obc_ai_jobs_waiting", "default"] == 1
