"""What the limits and the breaker of a provider do to calls, as callers see it.

The gates themselves are proven by `GateContract`, and with many processes by
tests/acceptance/limits.py.
"""

from __future__ import annotations

import asyncio
import threading
import zoneinfo
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connections, transaction

from django_obc_ai.backends.coordinators import coordinators
from django_obc_ai.backends.coordinators.memory import MemoryCoordinator
from django_obc_ai.exceptions import (
    CoordinatorError,
    RateLimitedError,
    TransientError,
)
from django_obc_ai.gateway import ratelimit
from django_obc_ai.models import AIOperation
from django_obc_ai.services.text import TextService
from django_obc_ai.testing import override_ai
from django_obc_ai.types import GenerationResult
from django_obc_ai.types.coordination import GateState
from tests.fakes import entry
from tests.gateway.conftest import PRICES, Scripted, run_async
from tests.gateway.test_fallback import scripted as provider
from tests.servers.valkey import RedisServer

pytestmark = pytest.mark.django_db
DOWN = TransientError("Down.", is_possibly_billed=False)
ONCE = {"attempts": 1}
PATIENT = {"deadline_seconds": 600}
BUDGET = [{"scope": "global", "period": "day", "limit_usd": "1"}]


def limits(**given: Any) -> dict[str, Any]:
    return {"default": {"per_day": None, **given}}


def ask(prompt: str = "Q", **arguments: Any) -> GenerationResult:
    return TextService().generate_text(prompt, use_cache=False, **arguments)


def refused(result: GenerationResult) -> RateLimitedError:
    assert isinstance(result.exception, RateLimitedError)
    assert result.exception.alias == "default"
    return result.exception


def state() -> GateState:
    return coordinators["default"].gate_state("default", ratelimit.limits_of("default"))


# --- limits --------------------------------------------------------------------------------------
def test_a_provider_gets_ready_before_the_permit_not_after_it(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To import an SDK takes seconds, and the limits count by the permit."""
    kit = scripted("A", RATE_LIMITS=limits(per_minute=5))
    used: list[int] = []
    monkeypatch.setattr(kit.provider, "get_ready", lambda: used.append(state().requests))
    assert ask().success
    assert used == [0]
    assert state().requests == 1


def test_a_refusal_says_which_limit_when_there_is_room_and_that_nothing_was_sent(
    scripted: Scripted, waits: list[float]
) -> None:
    kit = scripted("A", RATE_LIMITS=limits(per_minute=1, when_exceeded="refuse"))
    assert ask().success
    result = ask()
    error = refused(result)
    assert (result.error, error.reason) == ("rate_limited", "requests")
    assert "OBC_AI['RATE_LIMITS']['default'] allows 1 requests in 60 seconds" in str(error)
    assert "Nothing was sent" in str(error)
    assert 50 < (error.retry_after_seconds or 0) <= 60
    assert (kit.provider.call_count, waits) == (1, [])
    row = AIOperation.objects.get(success=False)
    assert (row.error_category, row.attempts, row.cost_usd) == ("rate_limited", 0, 0)


def test_a_call_waits_until_the_window_has_room(scripted: Scripted, waits: list[float]) -> None:
    kit = scripted("A", "B", "C", RATE_LIMITS=limits(per_minute=2), RETRY=PATIENT)
    assert [ask().text for _ in range(3)] == ["A", "B", "C"]
    assert 50 < sum(waits) <= 60
    assert kit.provider.call_count == 3


@pytest.mark.django_db(transaction=True)
def test_calls_wait_in_turn(
    scripted: Scripted, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    kit = scripted("A", "B", "C", RATE_LIMITS=limits(per_minute=1), RETRY=PATIENT)
    is_queued, go = threading.Event(), threading.Event()
    asked: list[float] = []
    main = threading.current_thread()

    def sleep(seconds: float) -> None:
        asked.append(seconds)
        if threading.current_thread() is not main:
            is_queued.set()
            assert go.wait(30)
            return
        if not go.is_set():
            waits.append(asked[0])
            go.set()
            second.result(30)
        waits.append(seconds)

    def in_thread() -> str:
        try:
            return ask("second").text
        finally:
            connections.close_all()

    monkeypatch.setattr("django_obc_ai.gateway.call._sleep", sleep)
    ask("first")
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(in_thread)
        assert is_queued.wait(30)
        assert ask("third").text == "C"
    assert [request.prompt for request in kit.provider.requests] == ["first", "second", "third"]
    assert asked[0] <= 60 < asked[1] <= 120


def test_who_would_wait_longer_than_it_may_is_refused_at_once(
    scripted: Scripted, waits: list[float]
) -> None:
    scripted("A", RATE_LIMITS=limits(per_minute=1), RETRY={"deadline_seconds": 5})
    assert ask().success
    assert refused(ask()).reason == "requests"
    assert (waits, state().waiting) == ([], 0)


def test_more_tokens_than_the_limit_are_refused_with_what_to_do(
    scripted: Scripted, waits: list[float]
) -> None:
    kit = scripted("A", RATE_LIMITS=limits(tokens_per_minute=100))
    error = refused(ask(max_output_tokens=500))
    assert error.reason == "tokens"
    assert "allows 100 tokens in 60 seconds, and this call may take 5" in str(error)
    assert "Lower max_output_tokens, or raise the limit" in str(error)
    assert ask(max_output_tokens=20).success
    assert (kit.provider.call_count, waits) == (1, [])
    assert 0 < state().tokens < 20  # by what the call took, not by what it might have


def test_a_used_up_day_is_refused_until_the_providers_midnight(
    scripted: Scripted, waits: list[float]
) -> None:
    scripted("A", RATE_LIMITS=limits(per_day=1, day_starts="Asia/Manila"))
    assert ask().success
    result = ask()
    error = refused(result)
    assert (result.error, error.reason, waits) == ("quota_exhausted", "day", [])
    assert error.until is not None
    assert error.until.astimezone(zoneinfo.ZoneInfo("Asia/Manila")).strftime("%H:%M") == "00:00"


@pytest.mark.django_db(transaction=True)
def test_inside_a_transaction_a_call_is_refused_instead_of_waiting(
    scripted: Scripted, waits: list[float]
) -> None:
    scripted("A", "B", RATE_LIMITS=limits(per_minute=1), RETRY=PATIENT)
    assert ask().success
    with transaction.atomic():
        assert refused(ask()).reason == "requests"
    assert waits == []
    assert ask().text == "B"
    assert sum(waits) > 50


def test_a_free_provider_has_no_limits_unless_they_are_set() -> None:
    free = {"default": provider("A", is_free=True, repeat_last=True)}
    with override_ai(PROVIDERS=free, RATE_LIMITS={}):
        assert all(ask().success for _ in range(61))
        assert state().requests == 0
    with override_ai(PROVIDERS=free, RATE_LIMITS=limits(per_minute=1, when_exceeded="refuse")):
        assert [ask().success for _ in range(2)] == [True, False]


def test_a_paid_provider_has_limits_unless_they_are_taken_away() -> None:
    paid = {"default": provider("A", repeat_last=True)}
    with override_ai(PROVIDERS=paid, PRICES=PRICES, RATE_LIMITS={}, RETRY={"deadline_seconds": 1}):
        assert [ask().success for _ in range(61)] == [True] * 60 + [False]


# --- permits are given back ----------------------------------------------------------------------
@pytest.fixture(params=["memory", "redis"])
def store(request: pytest.FixtureRequest) -> dict[str, Any]:
    if request.param == "memory":
        return {}
    server: RedisServer = request.getfixturevalue("redis_server")
    backends = "django_obc_ai.backends"
    return {
        "COST_STORES": entry(f"{backends}.cost_stores.redis.RedisCostStore", url=server.url),
        "COORDINATORS": entry(f"{backends}.coordinators.redis.RedisCoordinator", url=server.url),
    }


def test_a_call_that_a_budget_refuses_uses_up_no_limit(
    scripted: Scripted, store: dict[str, Any]
) -> None:
    nothing = [{"scope": "module", "key": "m", "period": "day", "limit_usd": "0"}]
    given = limits(per_minute=1, per_day=1, when_exceeded="refuse")
    scripted("A", RATE_LIMITS=given, BUDGETS=[*BUDGET, *nothing], **store)
    for _ in range(3):
        assert ask(module="m").error == "budget_exceeded"
    assert (state().requests, state().today) == (0, 0)
    assert ask().success
    assert (state().requests, state().today) == (1, 1)


@pytest.mark.django_db(transaction=True)
def test_a_call_that_is_cancelled_while_it_waits_leaves_the_queue(
    scripted: Scripted, store: dict[str, Any]
) -> None:
    given = limits(per_minute=1)
    kit = scripted("A", RATE_LIMITS=given, RETRY=PATIENT, BUDGETS=BUDGET, **store)

    async def leave() -> None:
        await TextService().agenerate_text("first")
        waiter = asyncio.ensure_future(TextService().agenerate_text("second"))
        for _ in range(3_000):
            if (await sync_to_async(state)()).waiting:
                break
            await asyncio.sleep(0.01)
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter

    run_async(leave())
    found = state()
    assert (found.waiting, found.requests, found.today) == (0, 1, 1)
    assert kit.provider.call_count == 1


# --- without a coordinator -----------------------------------------------------------------------
class AbsentCoordinator(MemoryCoordinator):
    """Cannot be reached."""

    def acquire(self, *_: Any, **__: Any) -> Any:
        raise CoordinatorError("Away.")

    release = board = acquire


def test_without_a_coordinator_each_process_keeps_the_limits_for_itself(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ratelimit, "_alone", MemoryCoordinator())
    given = limits(per_minute=2, when_exceeded="refuse")
    settings = {"RATE_LIMITS": given, "PRICES": PRICES, "COORDINATORS": entry(AbsentCoordinator)}
    with override_ai(["A", "B"], **settings) as kit:
        results = []
        for _ in range(3):
            results.append(ask())
            ratelimit._away.clear()  # as if the moment had passed for which it is left alone
        assert [each.success for each in results] == [True, True, False]
        assert refused(results[-1]).reason == "requests"
        assert kit.provider.call_count == 2
    assert "traffic.limits_local" in {getattr(each, "event", "") for each in caplog.records}
