"""Streams: pieces, results, and the books when they end early."""

from __future__ import annotations

from decimal import Decimal

import pytest

from django_obc_ai.exceptions import (
    BadResponseError,
    ConfigurationError,
    RateLimitError,
    StreamInterruptedError,
    TransientError,
)
from django_obc_ai.models import AIOperation
from django_obc_ai.services.text import TextService
from django_obc_ai.testing import CutStream, Reply, override_ai
from django_obc_ai.types import Usage
from tests.gateway.conftest import Scripted

pytestmark = pytest.mark.django_db
USAGE = Usage(input_tokens=10, output_tokens=3)
COST = Decimal("0.000022")


def test_a_stream_yields_its_pieces_and_ends_in_a_result(scripted: Scripted) -> None:
    scripted(Reply(chunks=["One ", "two ", "three"], usage=USAGE))
    stream = TextService().stream_text("Q", module="mana")
    assert stream.result is None
    assert list(stream) == ["One ", "two ", "three"]
    result = stream.result
    assert result is not None
    assert (result.success, result.text, result.cost) == (True, "One two three", COST)
    row = AIOperation.objects.get()
    assert (row.module, row.cost_usd, row.tokens_exact) == ("mana", COST, True)


def test_a_streamed_answer_is_cached_for_streams_and_calls(scripted: Scripted) -> None:
    kit = scripted(Reply(chunks=["One ", "two"]))
    list(TextService().stream_text("Q"))
    assert list(TextService().stream_text("Q")) == ["One two"]
    assert TextService().generate_text("Q").cached is True
    assert kit.provider.call_count == 1


def test_a_failure_before_the_first_piece_is_tried_again(
    scripted: Scripted, waits: list[float]
) -> None:
    scripted(RateLimitError("Busy."), Reply(chunks=["A"], usage=USAGE))
    assert list(TextService().stream_text("Q")) == ["A"]
    assert (AIOperation.objects.get().attempts, bool(waits)) == (2, True)


def test_a_failure_that_stays_is_raised_and_recorded(scripted: Scripted) -> None:
    scripted(TransientError("Down.", is_possibly_billed=False), RETRY={"attempts": 1})
    stream = TextService().stream_text("Q")
    with pytest.raises(TransientError, match="Down"):
        next(stream)
    assert stream.result is not None
    assert (stream.result.error, AIOperation.objects.get().error_category) == (
        "transient", "transient",
    )  # fmt: skip


def test_a_cut_stream_is_not_tried_again_and_settles_what_was_seen(
    scripted: Scripted, waits: list[float]
) -> None:
    kit = scripted(CutStream(chunks=["One ", "two"], usage=USAGE), "A")
    stream = TextService().stream_text("Q")
    pieces = []
    with pytest.raises(StreamInterruptedError):
        pieces.extend(stream)
    row = AIOperation.objects.get()
    assert (kit.provider.call_count, waits) == (1, [])
    assert (row.success, row.error_category) == (False, "stream_interrupted")
    assert row.cost_usd == COST


def test_a_cut_stream_without_usage_is_booked_at_its_ceiling(scripted: Scripted) -> None:
    scripted(CutStream(chunks=["One"]))
    with pytest.raises(StreamInterruptedError):
        list(TextService().stream_text("Q", max_output_tokens=100, include_context=False))
    row = AIOperation.objects.get()
    assert (row.cost_usd, row.cost_known, row.tokens_exact) == (Decimal("0.000433"), False, False)


def test_a_stream_that_the_caller_leaves_is_booked(scripted: Scripted) -> None:
    kit = scripted(Reply(chunks=["One ", "two"], usage=USAGE), "A")
    with TextService().stream_text("Q") as stream:
        assert next(stream) == "One "
    row = AIOperation.objects.get()
    assert (row.success, row.error_category) == (False, "stream_interrupted")
    assert (row.cost_usd > 0, row.tokens_exact) == (True, False)
    assert TextService().generate_text("Q").text == "A"
    assert kit.provider.call_count == 2


def test_a_stream_that_was_never_started_costs_nothing(scripted: Scripted) -> None:
    kit = scripted("A")
    TextService().stream_text("Q").close()
    assert (kit.provider.call_count, AIOperation.objects.count()) == (0, 0)


def test_a_foreign_exception_in_mid_stream_is_translated(scripted: Scripted) -> None:
    from collections.abc import Iterator

    from django_obc_ai.backends.providers import providers
    from django_obc_ai.types import GenerationRequest, StreamChunk

    scripted()

    def broken(_: GenerationRequest) -> Iterator[StreamChunk]:
        yield StreamChunk(text="One")
        raise KeyError("x")

    providers["default"].stream = broken  # type: ignore[method-assign]  # a backend with a bug
    with pytest.raises(BadResponseError, match="KeyError"):
        list(TextService().stream_text("Q"))
    assert AIOperation.objects.get().error_category == "bad_response"


def test_an_end_without_a_finish_reason_is_an_interruption(scripted: Scripted) -> None:
    from django_obc_ai.backends.providers import providers
    from django_obc_ai.types import StreamChunk

    scripted()
    chunks = [StreamChunk(text="One", usage=USAGE)]
    providers["default"].stream = lambda _: iter(chunks)  # type: ignore[method-assign]  # ends early
    with pytest.raises(StreamInterruptedError, match="before the answer was finished"):
        list(TextService().stream_text("Q"))
    row = AIOperation.objects.get()
    assert (row.cost_usd, row.tokens_exact) == (COST, False)
    providers["default"].stream = lambda _: iter(())  # type: ignore[method-assign]  # says nothing
    with pytest.raises(StreamInterruptedError):
        list(TextService().stream_text("Q"))


def test_a_streamed_answer_that_should_be_json_is_checked(scripted: Scripted) -> None:
    scripted("no JSON")
    with pytest.raises(BadResponseError):
        list(TextService().stream_text("Q", response_schema={"type": "object"}))


def test_a_misconfigured_provider_is_raised_at_the_first_piece() -> None:
    providers = {
        "default": {"BACKEND": "django_obc_ai.backends.providers.offline.OfflineProvider"},
        "broken": {"BACKEND": "no.such.Provider"},
    }
    with override_ai(PROVIDERS=providers):
        stream = TextService("broken").stream_text("Q")
        with pytest.raises(ConfigurationError, match="broken"):
            next(stream)


def test_counts_that_fall_are_booked_at_their_highest(scripted: Scripted) -> None:
    from collections.abc import Iterator

    from django_obc_ai.backends.providers import providers
    from django_obc_ai.types import GenerationRequest, StreamChunk

    scripted()

    def falling(_: GenerationRequest) -> Iterator[StreamChunk]:
        yield StreamChunk(text="One", usage=Usage(input_tokens=10, output_tokens=450))
        yield StreamChunk(usage=USAGE, finish_reason="stop")

    providers["default"].stream = falling  # type: ignore[method-assign]  # a backend with a bug
    list(TextService().stream_text("Q"))
    row = AIOperation.objects.get()
    assert (row.output_tokens, row.cost_usd, row.tokens_exact) == (450, Decimal("0.00181"), False)
