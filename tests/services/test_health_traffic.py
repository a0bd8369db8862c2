"""What the health report says of coordinators, limits and closed providers."""

from __future__ import annotations

import time
from typing import Any

import pytest
from django.test import override_settings

from django_obc_ai.backends.cost_stores.database import DatabaseCostStore
from django_obc_ai.services.health import HealthItem, check_health
from django_obc_ai.testing import override_ai
from django_obc_ai.types.coordination import GateState
from tests.fakes import entry
from tests.gates import gates

pytestmark = pytest.mark.django_db


def look(name: str) -> HealthItem:
    _, found = check_health(only=[name]).items
    return found


def limits_of(**state: Any) -> HealthItem:
    with gates({"paid": GateState(**state)}):
        return look("limits paid")


def test_a_coordinator_that_answers_and_is_shared_is_in_place() -> None:
    with gates({}):
        found = look("coordinator default")
    assert (found.status, found.message) == ("ok", "ScriptedCoordinator.")


def test_a_coordinator_that_is_away_could_not_be_asked() -> None:
    with gates({"paid": GateState()}, is_away=True):
        found, limits = look("coordinator default"), look("limits paid")
    assert (found.status, found.message) == ("unknown", "Redis is away.")
    assert "keeps the limits by itself" in found.hint
    assert (limits.status, limits.message) == ("unknown", "Redis is away.")


def test_a_coordinator_of_one_process_is_a_warning_but_for_a_developer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with gates({}, COST_STORES=entry(DatabaseCostStore)) as coordinator:
        monkeypatch.setattr(type(coordinator), "is_shared", False)
        found = look("coordinator default")
        assert found.status == "warning" and "makes equal calls for itself" in found.message
        with override_settings(DEBUG=True):
            assert look("coordinator default").status == "ok"


def test_a_coordinator_beside_a_cost_store_of_one_process_is_not_warned_of_again() -> None:
    with override_ai():
        assert look("cost store default").status == "warning"
        assert look("coordinator default").status == "ok"


def test_an_open_provider_says_what_is_left() -> None:
    found = limits_of(today=300, requests=60)
    assert (found.status, found.message) == ("ok", "Open; 1,200 of 1,500 requests left.")
    found = limits_of(reason="reopening")
    assert found.status == "ok" and found.message.startswith("Reopening: few calls")


@pytest.mark.parametrize(
    ("today", "status"), [(1_350, "ok"), (1_351, "warning"), (1_500, "warning"), (1_600, "warning")]
)
def test_less_than_a_tenth_of_the_day_is_a_warning(today: int, status: str) -> None:
    found = limits_of(today=today)
    assert found.status == status
    assert f"{max(0, 1_500 - today):,} of 1,500 requests left" in found.message


@pytest.mark.parametrize("reason", ["throttled", "quota", "breaker"])
def test_a_closed_provider_is_a_warning_with_its_reason(reason: str) -> None:
    found = limits_of(reason=reason, until=time.time() + 90)
    assert found.status == "warning"
    assert found.message.startswith("Closed until 20")
    assert "reopen" in found.hint


def test_a_provider_without_limits_is_not_looked_at() -> None:
    with gates({}):
        names = [each.name for each in check_health().items]
    assert "coordinator default" in names
    assert not [each for each in names if each.startswith("limits")]


def test_a_broken_coordinator_is_an_error() -> None:
    with override_ai(COORDINATORS={"default": {"BACKEND": "no.such.Coordinator"}}):
        assert look("coordinator default").status == "error"
