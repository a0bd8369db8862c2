"""The rules of gates by themselves: what coordinators' answers do not show."""

from __future__ import annotations

import math

from hypothesis import given, strategies

from django_obc_ai.backends.coordinators._gate_rules import (
    NO_LIMIT,
    Gate,
    GateData,
    asked_ms,
    ended_ms,
    terms_of,
)
from django_obc_ai.types.coordination import Admission, Limits

NOW = 1_900_000_000.0


@given(strategies.integers(0, 10**7))
def test_whole_milliseconds_are_kept(milliseconds: int) -> None:
    seconds = NOW + milliseconds / 1000
    wanted = 1_900_000_000_000 + milliseconds
    assert asked_ms(seconds) == ended_ms(seconds) == wanted


@given(strategies.floats(0, 10**9))
def test_questions_are_early_and_ends_are_late(seconds: float) -> None:
    assert asked_ms(seconds) <= seconds * 1000 + 0.001
    assert ended_ms(seconds) >= seconds * 1000 - 0.001
    assert 0 <= ended_ms(seconds) - asked_ms(seconds) <= 1


def test_no_limit_is_a_number_that_nothing_reaches() -> None:
    terms = terms_of(Limits())
    assert (terms.requests, terms.tokens, terms.per_day, terms.failures) == (NO_LIMIT,) * 4
    assert terms.window == 60_000


def test_an_endless_patience_is_one() -> None:
    data, limits = GateData(), Limits(requests=1)
    gate = Gate(data, limits, NOW)
    gate.acquire("a", tokens=1, patience_seconds=0)
    assert gate.acquire("b", tokens=1, patience_seconds=math.inf).reason == "requests"
    assert list(data.waiters) == ["b"]


def test_waiters_cost_no_place_in_other_limits_once_let_through() -> None:
    data, limits = GateData(), Limits(requests=1, per_day=2)
    Gate(data, limits, NOW).acquire("a", tokens=1, patience_seconds=0)
    Gate(data, limits, NOW).acquire("b", tokens=1, patience_seconds=99)
    Gate(data, limits, NOW).release("a", verdict="ok", tokens=1, closed_seconds=None)
    assert Gate(data, limits, NOW + 60).acquire("b", tokens=1, patience_seconds=9) == Admission()
    assert (data.today, data.waiters) == (2, {})


def test_what_has_passed_is_forgotten() -> None:
    data, limits = GateData(), Limits(requests=2)
    for permit in "abc":
        Gate(data, limits, NOW).acquire(permit, tokens=1, patience_seconds=99)
    Gate(data, limits, NOW).release("x", verdict="ok", tokens=1, closed_seconds=None)
    Gate(data, limits, NOW + 200)
    assert (data.permits, data.waiters, data.others) == ({}, {}, {})
