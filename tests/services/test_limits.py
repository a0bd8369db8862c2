"""How it stands with the limits of providers, for all that shows it."""

from __future__ import annotations

import datetime
import time

import pytest

from django_obc_ai.exceptions import CoordinatorError
from django_obc_ai.services import limits
from django_obc_ai.testing import override_ai
from django_obc_ai.types.coordination import GateState
from tests.fakes import entry
from tests.gates import OFFLINE, gates

USED = GateState(requests=45, tokens=99_000, today=1_400, in_flight=2, waiting=3)


def test_each_limit_is_told_with_what_counts_towards_it() -> None:
    with gates({"paid": USED}):
        (found,) = limits.limits_now()
    assert (found.alias, found.state, found.is_free) == ("paid", USED, True)
    told = [(each.name, each.used, each.limit) for each in found.meters()]
    assert told == [("requests", 45, 60), ("tokens", 99_000, 100_000), ("day", 1_400, 1_500)]
    assert found.meters()[0].percent == 75
    assert found.day is not None and found.day.words == "requests today"
    assert found.resets_at is not None
    left = found.resets_at - datetime.datetime.now(datetime.UTC)
    assert datetime.timedelta(minutes=50) < left <= datetime.timedelta(hours=1)


def test_a_provider_without_limits_has_no_gate_and_nobody_asks() -> None:
    with gates({}) as coordinator:
        assert limits.limits_now() == []
        assert not limits.has_limits("default")
        assert coordinator.asked == []


@pytest.mark.parametrize("reason", limits.CLOSING)
def test_a_closed_provider_says_until_when(reason: str) -> None:
    until = round(time.time()) + 90.0
    with gates({"paid": GateState(reason=reason, until=until)}):  # type: ignore[arg-type]
        (found,) = limits.limits_now()
    assert found.is_closed
    assert found.until == datetime.datetime.fromtimestamp(until, datetime.UTC)


def test_a_provider_that_reopens_is_not_closed() -> None:
    with gates({"paid": GateState(reason="reopening")}):
        (found,) = limits.limits_now()
    assert not found.is_closed
    assert found.until is None


def test_a_coordinator_that_is_away_is_asked_once_and_nothing_breaks() -> None:
    with gates({"one": USED, "two": USED}, is_away=True) as coordinator:
        found = limits.limits_now()
        assert coordinator.asked == ["one"]
        with pytest.raises(CoordinatorError):
            limits.read_limits("one")
    assert [(each.alias, each.state, each.meters()) for each in found] == [
        ("one", None, []),
        ("two", None, []),
    ]
    assert not any(each.is_closed for each in found)
    with pytest.raises(CoordinatorError, match="cannot be asked"):
        found[0].known_state()


def test_a_coordinator_that_is_slow_is_asked_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(limits, "_clock", lambda: now[0])
    with gates({"one": USED, "two": USED}) as coordinator:
        monkeypatch.setattr(coordinator, "_answer", lambda: now.append(now.pop() + 5))
        assert [each.state for each in limits.limits_now()] == [USED, None]


def test_a_broken_provider_hides_no_other() -> None:
    providers = {"default": {"BACKEND": "no.such.Provider"}, "paid": {"BACKEND": OFFLINE}}
    with gates({"default": USED, "paid": USED}, PROVIDERS=providers):
        assert [each.alias for each in limits.limits_now()] == ["paid"]


def test_a_broken_coordinator_is_an_unknown_state() -> None:
    providers = {name: {"BACKEND": OFFLINE} for name in ("default", "paid")}
    with (
        gates({"paid": USED}),
        override_ai(COORDINATORS=entry("no.such.Coordinator"), PROVIDERS=providers),
    ):
        (found,) = limits.limits_now()
    assert found.state is None
