"""Providers that nobody asks for a while: after a 429, a used-up quota, failures in a row."""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from django_obc_ai.exceptions import InvalidRequestError, QuotaExhaustedError, RateLimitError
from django_obc_ai.signals import provider_closed, provider_reopened
from tests.gateway.conftest import Scripted
from tests.gateway.test_fallback import DOWN, heard
from tests.gateway.test_ratelimit import ask, limits, refused, state

pytestmark = pytest.mark.django_db
ONCE = {"attempts": 1}


@pytest.fixture
def told() -> Iterator[list[str]]:
    """What was said of closed providers, in order."""
    with ExitStack() as stack:
        found: list[str] = []

        def closed(reason: str, **_: Any) -> None:
            found.append(reason)

        def reopened(**_: Any) -> None:
            found.append("reopened")

        for signal, receiver in ((provider_closed, closed), (provider_reopened, reopened)):
            signal.connect(receiver)
            stack.callback(signal.disconnect, receiver)
        yield found


def test_after_a_429_nobody_asks_until_the_provider_wants_to_be_asked(
    scripted: Scripted, waits: list[float], told: list[str]
) -> None:
    busy = RateLimitError("Busy.", retry_after_seconds=30.0)
    given = limits(per_minute=4, when_exceeded="refuse")
    kit = scripted(busy, "A", "B", RATE_LIMITS=given, RETRY=ONCE)
    assert ask().error == "rate_limited"
    result = ask("another question")
    error = refused(result)
    assert (result.error, error.reason) == ("rate_limited", "throttled")
    assert 25 < (error.retry_after_seconds or 0) <= 30
    assert error.until is not None
    assert (kit.provider.call_count, told) == (1, ["throttled"])
    waits.append(30)
    assert [ask().text for _ in range(2)] == ["A", "B"]
    assert told == ["throttled", "reopened"]


def test_after_a_used_up_quota_nobody_asks_until_the_providers_next_day(
    scripted: Scripted, waits: list[float], told: list[str]
) -> None:
    quota = QuotaExhaustedError("Used up.", retry_after_seconds=5.0)
    kit = scripted(quota, "A", RATE_LIMITS=limits(day_starts="Asia/Manila"))
    assert ask().error == "quota_exhausted"
    for _ in range(3):
        result = ask()
        error = refused(result)
        assert (result.error, error.reason) == ("quota_exhausted", "quota")
        assert error.until is not None and f"{error.until:%Y-%m-%d %H:%M}" in str(error)
        local = error.until.astimezone(zoneinfo.ZoneInfo("Asia/Manila"))
        assert local.strftime("%H:%M") == "00:00"
    assert (kit.provider.call_count, told, waits) == (1, ["quota"], [])
    waits.append(24 * 3600)
    assert ask().text == "A"


def test_the_breaker_opens_after_failures_in_a_row_and_says_so_once(
    scripted: Scripted, waits: list[float], told: list[str]
) -> None:
    breaker = {"failures": 2, "open_seconds": 30}
    script = [DOWN, "A", DOWN, DOWN, "B", "C"]
    kit = scripted(*script, BREAKER=breaker, RETRY=ONCE, RATE_LIMITS=limits(per_minute=4))
    assert [ask().success for _ in range(3)] == [False, True, False]
    waits.append(60)
    assert (ask().error, told) == ("transient", ["breaker"])
    for _ in range(3):
        result = ask()
        error = refused(result)
        assert (result.error, error.reason) == ("transient", "breaker")
        assert "has failed 2 times in a row" in str(error)
    assert (kit.provider.call_count, told) == (4, ["breaker"])
    waits.append(30)
    assert [ask().text for _ in range(2)] == ["B", "C"]
    assert told == ["breaker", "reopened"]


def test_what_a_request_is_to_blame_for_does_not_open_the_breaker(scripted: Scripted) -> None:
    kit = scripted(*[InvalidRequestError("No.")] * 4, BREAKER={"failures": 1}, RATE_LIMITS={})
    assert {ask().error for _ in range(4)} == {"invalid_request"}
    assert (kit.provider.call_count, state().failures) == (4, 0)


def test_the_signals_name_provider_and_time(scripted: Scripted) -> None:
    with ExitStack() as stack:
        closed = heard(provider_closed, stack)
        scripted(RateLimitError("Busy.", retry_after_seconds=30.0), RATE_LIMITS={}, RETRY=ONCE)
        ask()
    assert [(each["alias"], each["reason"]) for each in closed] == [("default", "throttled")]
    assert closed[0]["until"].tzinfo is not None
