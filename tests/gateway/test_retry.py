"""What is tried again, when, and what it costs."""

from __future__ import annotations

from decimal import Decimal

import pytest

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
from django_obc_ai.services.text import TextService
from django_obc_ai.testing import Reply
from django_obc_ai.types import Usage
from tests.gateway.conftest import Scripted

pytestmark = pytest.mark.django_db
BUSY = RateLimitError("Busy.", is_possibly_billed=False)


def test_retryable_failures_are_tried_again_and_summed(
    scripted: Scripted, waits: list[float]
) -> None:
    usage = Usage(input_tokens=10)
    billed = TransientError("Cut.", usage=usage)
    kit = scripted(BUSY, billed, Reply("A", usage=usage))
    result = TextService().generate_text("Q")
    row = AIOperation.objects.get()
    assert (result.text, kit.provider.call_count, row.attempts) == ("A", 3, 3)
    assert (row.input_tokens, row.cost_usd, row.success) == (20, Decimal("0.00002"), True)
    assert len(waits) == 2


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
    scripted(*[BUSY] * 5, "A", RETRY={"attempts": 6})
    TextService().generate_text("Q")
    for number, wait in enumerate(waits):
        assert 0.5 * 2**number <= wait <= 0.5 * 2**number + 0.5
    assert len({wait % 0.5 for wait in waits}) == 5


def test_the_servers_delay_is_honoured(scripted: Scripted, waits: list[float]) -> None:
    scripted(RateLimitError("Busy.", retry_after_seconds=17.0), "A")
    assert TextService().generate_text("Q").success
    assert waits == [17.0]


def test_no_wait_that_would_pass_the_deadline(scripted: Scripted, waits: list[float]) -> None:
    late = RateLimitError("Busy.", retry_after_seconds=61.0)
    kit = scripted(late, "A", RETRY={"deadline_seconds": 60})
    assert TextService().generate_text("Q").error == "rate_limited"
    assert (kit.provider.call_count, waits) == (1, [])
