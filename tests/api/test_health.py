"""Probes and the report: nothing internal to the anonymous, nothing spent, and looked at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from django_obc_ai.models import AIOperation
from django_obc_ai.services.text import TextService
from django_obc_ai.testing import override_ai
from tests.api.conftest import Person, is_problem
from tests.extras import requires

pytestmark = [pytest.mark.django_db, requires("rest_framework")]


@pytest.fixture(autouse=True)
def _looked_at_anew() -> Iterator[None]:
    from django_obc_ai.api import health

    for each in (health.whole, health.needed):
        each.forget()
    yield
    for each in (health.whole, health.needed):
        each.forget()


def test_liveness_looks_at_nothing(nobody: Person, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        response = nobody.get("health/live/")
    assert (response.status_code, response.json()) == (200, {"health": "ok"})


def test_readiness_is_said_without_saying_who_asks(amina: Person, nobody: Person) -> None:
    for person in (amina, nobody):
        response = person.get("health/ready/")
        assert (response.status_code, response.json()) == (200, {"health": "ok"})
        assert "Vary" not in response or "Cookie" not in response["Vary"]


def test_items_are_for_people_who_may_view_the_dashboard(
    amina: Person, omar: Person, nobody: Person
) -> None:
    for person in (nobody, amina):
        response = person.get("health/")
        assert set(response.json()) <= {"health", *_MEMBERS}
        assert "items" not in response.json()
    items = omar.allow("view_dashboard").get("health/").json()["items"]
    names = [each["name"] for each in items]
    assert {"settings", "provider default", "cost store default"} <= set(names)
    assert set(items[0]) == {"name", "status", "message", "hint"}
    assert not AIOperation.objects.exists()


_MEMBERS = ("type", "title", "status", "code", "detail")
BROKEN = {"default": {"BACKEND": "tests.nowhere.Store"}}


def test_without_a_cost_store_it_is_not_ready_and_does_not_say_why(
    nobody: Person, omar: Person
) -> None:
    with override_ai(COST_STORES=BROKEN):
        body = is_problem(nobody.get("health/ready/"), 503, "not_ready")
        assert set(body) == set(_MEMBERS)
        body = is_problem(nobody.get("health/"), 503, "unhealthy")
        assert set(body) == {*_MEMBERS, "health"} and body["health"] == "error"
        body = is_problem(omar.allow("view_dashboard").get("health/"), 503)
        assert any("tests.nowhere" in each["message"] for each in body["items"])
        assert nobody.get("health/live/").status_code == 200


@requires("redis")
def test_a_cost_store_that_is_away_takes_no_server_out_of_service(nobody: Person) -> None:
    away = {
        "default": {
            "BACKEND": "django_obc_ai.backends.cost_stores.redis.RedisCostStore",
            "OPTIONS": {"url": "redis://127.0.0.1:1/0"},  # nobody listens there
        }
    }
    with override_ai(["Yes."], COST_STORES=away):
        assert nobody.get("health/ready/").status_code == 200
        is_problem(nobody.get("health/"), 503, "unhealthy")
        assert TextService().generate_text("Without a budget?").text == "Yes."
        assert TextService().generate_text("Without a budget?").cached


@requires("redis")
@pytest.mark.parametrize("enforce", [True, False])
@pytest.mark.parametrize("stand_in", [None, "local"])
def test_what_a_budget_counts_is_refused_while_the_cost_store_is_away(
    enforce: bool, stand_in: str | None
) -> None:
    stores = "django_obc_ai.backends.cost_stores"
    found = {
        "default": {
            "BACKEND": f"{stores}.redis.RedisCostStore",
            "OPTIONS": {"url": "redis://127.0.0.1:1/0"},
        },
        "local": {"BACKEND": f"{stores}.memory.MemoryCostStore"},
    }
    budget = {"scope": "global", "period": "day", "limit_usd": "5.00", "enforce": enforce}
    money = {} if stand_in is None else {"stand_in": stand_in}
    prices = {"scripted": {"input_usd": "0.10", "output_usd": "0.40"}}
    given = {"COST_STORES": found, "BUDGETS": [budget], "MONEY": money, "PRICES": prices}
    with override_ai(["Yes."], **given):
        result = TextService().generate_text("Under a budget?")
    assert result.error == (None if stand_in else "transient")


@pytest.mark.parametrize("status", ["error", "unknown"])
def test_without_a_database_it_is_not_ready(
    nobody: Person, monkeypatch: pytest.MonkeyPatch, status: Any
) -> None:
    from django_obc_ai.api import health
    from django_obc_ai.services.health import HealthItem, HealthReport

    item = HealthItem(name="database default", status=status, message="")
    monkeypatch.setattr(health.needed, "_look", lambda **_: HealthReport(items=(item,)))
    is_problem(nobody.get("health/ready/"), 503, "not_ready")


def test_a_report_is_kept_for_a_while(nobody: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    from django_obc_ai.api import health
    from django_obc_ai.services.health import HealthItem, HealthReport

    now, looks = [100.0], []

    def look(**arguments: Any) -> HealthReport:
        looks.append(arguments)
        item = HealthItem(name="database default", status="ok", message="")
        return HealthReport(items=(item,))

    kept = health.Kept(("database",))
    monkeypatch.setattr(kept, "_look", look)
    monkeypatch.setattr(health, "_clock", lambda: now[0])
    for seconds in (0.0, 4.9, 0.2, 1.0):
        now[0] += seconds
        kept.read()
    assert len(looks) == 2


def test_while_one_looks_others_have_the_old_report(monkeypatch: pytest.MonkeyPatch) -> None:
    from django_obc_ai.api import health
    from django_obc_ai.services.health import HealthReport

    now, reports = [100.0], [HealthReport(items=()), HealthReport(items=())]
    began, may_end = threading.Event(), threading.Event()
    may_end.set()

    def look(**arguments: Any) -> HealthReport:
        began.set()
        may_end.wait(30)
        return reports.pop(0)

    kept = health.Kept()
    monkeypatch.setattr(kept, "_look", look)
    monkeypatch.setattr(health, "_clock", lambda: now[0])
    first = kept.read()
    now[0] += 60
    began.clear()
    may_end.clear()
    thread = threading.Thread(target=kept.read)
    thread.start()
    assert began.wait(30)
    assert kept.read() is first
    may_end.set()
    thread.join(30)
    assert kept.read() is not first and not reports
