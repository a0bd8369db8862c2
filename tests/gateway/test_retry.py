"""What is tried again, when, and what it costs."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import transaction

from django_obc_ai.exceptions import (
    AuthenticationError,
    ContentBlockedError,
    InvalidRequestError,
    ProviderError,
    QuotaExhaustedError,
    RateLimitError,
    TransientError,
)
from django_obc_ai.models import AIOperation
from django_obc_ai.services.costs import CostTracker
from django_obc_ai.services.text import TextService
from django_obc_ai.testing import Reply
from django_obc_ai.types import Usage
from tests.extras import requires
from tests.gateway.conftest import Scripted, run_async

pytestmark = pytest.mark.django_db
BUSY = RateLimitError("Busy.", is_possibly_billed=False)


def test_retryable_failures_are_tried_again_and_summed(
    scripted: Scripted, waits: list[float]
) -> None:
    usage = Usage(input_tokens=10)
    billed = TransientError("Cut.", usage=usage)
    kit = scripted(BUSY, billed, Reply("A", usage=replace(usage, output_tokens=1)))
    result = TextService().generate_text("Q")
    row = AIOperation.objects.get()
    assert (result.text, kit.provider.call_count, row.attempts) == ("A", 3, 3)
    assert (row.input_tokens, row.cost_usd, row.success) == (20, Decimal("0.000024"), True)
    assert 1 <= sum(waits) < 3  # the backoff, and what closes the gate after a 429


def test_attempts_are_bounded(scripted: Scripted, waits: list[float]) -> None:
    kit = scripted(*[BUSY] * 9, RETRY={"attempts": 4})
    assert TextService().generate_text("Q").error == "rate_limited"
    assert kit.provider.call_count == 4
    assert AIOperation.objects.get().attempts == 4


@pytest.mark.parametrize(
    "error", [AuthenticationError, InvalidRequestError, QuotaExhaustedError, ContentBlockedError]
)
def test_final_failures_are_not_tried_again(
    scripted: Scripted, waits: list[float], error: type[ProviderError]
) -> None:
    kit = scripted(error("No."), "A")
    assert TextService().generate_text("Q").error == error.code
    assert (kit.provider.call_count, waits) == (1, [])


def test_waits_grow_and_vary(scripted: Scripted, waits: list[float]) -> None:
    down = TransientError("Down.", is_possibly_billed=False)
    scripted(*[down] * 5, "A", RETRY={"attempts": 6}, BREAKER={"failures": None})
    TextService().generate_text("Q")
    for number, wait in enumerate(waits):
        assert 0.5 * 2**number <= wait <= 0.5 * 2**number + 0.5
    assert len({wait % 0.5 for wait in waits}) == 5


def test_the_servers_delay_is_honoured(scripted: Scripted, waits: list[float]) -> None:
    scripted(RateLimitError("Busy.", retry_after_seconds=17.0), "A")
    assert TextService().generate_text("Q").success
    assert sum(waits) == pytest.approx(17.0, abs=0.5)


def test_no_wait_that_would_pass_the_deadline(scripted: Scripted, waits: list[float]) -> None:
    late = RateLimitError("Busy.", retry_after_seconds=61.0)
    kit = scripted(late, "A", RETRY={"deadline_seconds": 60})
    assert TextService().generate_text("Q").error == "rate_limited"
    assert (kit.provider.call_count, waits) == (1, [])


@pytest.mark.django_db(transaction=True)
def test_nothing_sleeps_inside_a_transaction(scripted: Scripted, waits: list[float]) -> None:
    kit = scripted(BUSY, "A")
    with transaction.atomic():
        assert TextService().generate_text("Q").error == "rate_limited"
    assert (kit.provider.call_count, waits) == (1, [])
    with transaction.atomic():  # and while the provider is to be left alone, nothing is sent
        assert TextService().generate_text("Q").error == "rate_limited"
    assert (kit.provider.call_count, waits) == (1, [])
    assert TextService().generate_text("Q").success
    assert kit.provider.call_count == 2
    assert 0 < sum(waits) <= 1


@pytest.mark.django_db(transaction=True)
def test_no_stream_is_tried_again_inside_a_transaction(
    scripted: Scripted, waits: list[float]
) -> None:
    kit = scripted(BUSY, "A")
    with transaction.atomic(), pytest.raises(RateLimitError):
        list(TextService().stream_text("Q"))
    assert (kit.provider.call_count, waits) == (1, [])


@pytest.mark.django_db(transaction=True)
def test_no_awaited_call_is_tried_again_inside_a_transaction(scripted: Scripted) -> None:
    kit = scripted(BUSY, "A")

    async def inside() -> str | None:
        atomic = transaction.atomic()
        await sync_to_async(atomic.__enter__)()
        try:
            return (await TextService().agenerate_text("Q")).error
        finally:
            await sync_to_async(atomic.__exit__)(None, None, None)

    assert run_async(inside()) == "rate_limited"
    assert kit.provider.call_count == 1


def test_the_transaction_of_a_test_case_does_not_count(
    scripted: Scripted, waits: list[float]
) -> None:
    scripted(BUSY, "A")  # this test runs inside one
    assert TextService().generate_text("Q").success
    assert sum(waits) > 0.9


@pytest.mark.parametrize(("finish", "calls"), [("stop", 2), ("length", 1), ("other", 1)])
def test_an_answer_without_text_is_a_failure_that_is_billed(
    scripted: Scripted, waits: list[float], finish: Any, calls: int
) -> None:
    usage = Usage(input_tokens=10, thinking_tokens=50)
    said = Usage(input_tokens=10, output_tokens=50)
    kit = scripted(Reply("", usage=usage, finish_reason=finish), Reply("A", usage=said))
    result = TextService().generate_text("Q")
    assert kit.provider.call_count == calls
    assert result.success is (calls == 2)
    assert AIOperation.objects.get().cost_usd == calls * Decimal("0.00021")
    if finish == "length":
        assert "max_output_tokens" in result.error_message


def test_an_attempt_that_no_budget_allows_gives_back_nothing_twice(
    scripted: Scripted, waits: list[float]
) -> None:
    """The first attempt is billed; its hold is closed before the second is refused."""
    usage = Usage(input_tokens=100, output_tokens=100)
    kit = scripted(
        TransientError("Cut.", usage=usage),
        "A",
        BUDGETS=[{"scope": "global", "period": "day", "limit_usd": "0.0009"}],
    )
    result = TextService().generate_text("Q", max_output_tokens=100, include_context=False)
    assert (result.error, kit.provider.call_count) == ("budget_exceeded", 1)
    assert CostTracker().get_daily_cost() == Decimal("0.0005")


@requires("redis")
def test_a_cost_store_that_is_away_is_asked_as_often_as_a_provider(
    scripted: Scripted, waits: list[float]
) -> None:
    gone = {"BACKEND": "django_obc_ai.backends.cost_stores.redis.RedisCostStore"}
    budgets = [{"scope": "global", "period": "day", "limit_usd": "1"}]
    stores = {"default": {**gone, "OPTIONS": {"url": "redis://127.0.0.1:1/0"}}}
    kit = scripted("A", BUDGETS=budgets, COST_STORES=stores, RETRY={"attempts": 3})
    assert TextService().generate_text("Q").error == "transient"
    assert (kit.provider.call_count, len(waits)) == (0, 2)
    assert AIOperation.objects.get().attempts == 0
