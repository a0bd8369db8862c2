"""The contract must fail providers that break it, and pass the plainest that keeps it."""

from __future__ import annotations

import sys
import types
import unittest
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from typing import Any, Self

import numpy as np
import pytest

from django_obc_ai.backends.providers.base import BaseProvider
from django_obc_ai.exceptions import InvalidRequestError
from django_obc_ai.testing.provider_contract import ProviderContract
from django_obc_ai.types import (
    EmbeddingRequest,
    EmbeddingResponse,
    GenerationRequest,
    ProviderResponse,
    StreamChunk,
    Usage,
)


class PlainProvider(BaseProvider):
    """Streams and awaits by the base class, knows no schema, and refuses nothing."""

    model = "plain"

    def generate(self, request: GenerationRequest) -> ProviderResponse:
        return ProviderResponse(text="Yes.", usage=Usage(output_tokens=2), model=self.model)

    def count_tokens(self, request: GenerationRequest) -> int:
        return 1


def run(make: Callable[[], BaseProvider], **members: Any) -> unittest.TestResult:
    """Return the result of the contract for a provider."""
    body = {"make_provider": lambda self: make(), **members}
    case = type("Case", (ProviderContract, unittest.TestCase), body)
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(case).run(result)
    return result


def broken(result: unittest.TestResult) -> set[str]:
    return {case.id().rpartition(".test_")[2] for case, _ in result.failures + result.errors}


def test_plain_provider_passes_and_skips_what_it_does_not_claim() -> None:
    result = run(PlainProvider)
    assert broken(result) == set()
    assert [reason for _, reason in result.skipped] == ["the provider does not support schemas"]


class Iterating(PlainProvider):
    """Streams by iterators that have nothing to close."""

    def stream(self, request: GenerationRequest) -> Iterator[StreamChunk]:
        response = self.generate(request)
        usage, model = response.usage, response.model
        return iter([StreamChunk(text="Yes.", usage=usage, model=model, finish_reason="stop")])

    def astream(self, request: GenerationRequest) -> AsyncIterator[StreamChunk]:
        return _Once(next(self.stream(request)))


class _Once:
    def __init__(self, chunk: StreamChunk) -> None:
        self._chunks = [chunk]

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> StreamChunk:
        if not self._chunks:
            raise StopAsyncIteration
        return self._chunks.pop()


def test_streams_need_no_close() -> None:
    assert broken(run(Iterating)) == set()


class Silent(PlainProvider):
    def generate(self, request: GenerationRequest) -> ProviderResponse:
        return ProviderResponse(text="", usage=Usage(output_tokens=-1))


class Endless(PlainProvider):
    def stream(self, request: GenerationRequest) -> Iterator[StreamChunk]:
        yield StreamChunk(text="Yes", finish_reason="stop", model="plain")
        yield StreamChunk(text=".", model="plain")


class OneChunk(PlainProvider):
    supports_streaming = True


class Empty(PlainProvider):
    def stream(self, request: GenerationRequest) -> Iterator[StreamChunk]:
        return iter(())


class Wordy(PlainProvider):
    def generate(self, request: GenerationRequest) -> ProviderResponse:
        usage = Usage(output_tokens=4, thinking_tokens=2)
        return ProviderResponse(text="Yes, it is.", usage=usage, model="plain")


class Unmarked(PlainProvider):
    def generate(self, request: GenerationRequest) -> ProviderResponse:
        text = "Yes." if request.max_output_tokens is None else "Yes"
        return ProviderResponse(text=text, usage=Usage(output_tokens=2), model="plain")


class Uncounted(PlainProvider):
    def count_tokens(self, request: GenerationRequest) -> int:
        return 0


class Overcounted(PlainProvider):
    def count_tokens(self, request: GenerationRequest) -> int:
        return self.bound_tokens(request) + 1


class WrongJson(PlainProvider):
    supports_schema = True

    def generate(self, request: GenerationRequest) -> ProviderResponse:
        text = '{"summary": "", "setting": "coastal", "population": true, "is_urban": 0}'
        return ProviderResponse(text=text, usage=Usage(output_tokens=2), model="plain")


class Mangled(PlainProvider):
    def generate(self, request: GenerationRequest) -> ProviderResponse:
        return ProviderResponse(text="\ufffd", usage=Usage(output_tokens=1), model="plain")


class Untyped(PlainProvider):
    def generate(self, request: GenerationRequest) -> ProviderResponse:
        if not request.prompt.strip():
            raise ValueError("empty")
        return super().generate(request)


class Talkative(PlainProvider):
    def generate(self, request: GenerationRequest) -> ProviderResponse:
        if request.max_output_tokens == 0:
            raise InvalidRequestError(f"refused: {request.prompt}")
        return super().generate(request)


class Unpicklable(PlainProvider):
    class LostError(InvalidRequestError):
        def __reduce__(self) -> Any:
            return (InvalidRequestError, (str(self),))

    def generate(self, request: GenerationRequest) -> ProviderResponse:
        if request.max_output_tokens == 0:
            raise self.LostError("refused")
        return super().generate(request)


class Mixed(PlainProvider):
    """Keeps the request in a shared place, so that threads get each other's answers."""

    count = 0

    def generate(self, request: GenerationRequest) -> ProviderResponse:
        type(self).count += 1
        text = f"Yes {self.count}"
        return ProviderResponse(text=text, usage=Usage(output_tokens=2), model="plain")


class Eager(PlainProvider):
    def __init__(self) -> None:
        with open(__file__) as file:  # noqa: PTH123 - the call that the contract looks for
            file.read()


class Flagless(PlainProvider):
    supports_schema = None  # type: ignore[assignment]  # the mistake under test


class Chained(PlainProvider):
    def generate(self, request: GenerationRequest) -> ProviderResponse:
        if not request.prompt.strip():
            try:
                raise ValueError(request.render_prompt() + request.system)
            except ValueError as error:
                raise InvalidRequestError("The prompt is empty.") from error
        return super().generate(request)


class ClosedForGood(PlainProvider):
    is_closed = False

    def close(self) -> None:
        self.is_closed = True

    def generate(self, request: GenerationRequest) -> ProviderResponse:
        if self.is_closed:
            raise InvalidRequestError("It is closed.")
        return super().generate(request)


class Pinging(PlainProvider):
    def ping(self) -> Any:
        return "pong"


class Pretending(PlainProvider):
    """Says that it does not embed, and does."""

    def embed(self, request: EmbeddingRequest) -> EmbeddingResponse:
        rows = [[float(len(text)), 1.0, float(ord(text[:1] or " "))] for text in request.texts]
        vectors = np.array(rows, dtype=np.float32).reshape(-1, 3)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        return EmbeddingResponse(vectors=vectors / norms, model="plain")


class Embedding(Pretending):
    supports_embedding = True

    def embed(self, request: EmbeddingRequest) -> EmbeddingResponse:
        count = len(request.texts)
        if not 1 <= count <= self.embedding_batch_size or not all(map(str.strip, request.texts)):
            raise InvalidRequestError("Texts are missing, empty or too many.")
        return super().embed(request)


class Shuffling(Embedding):
    def embed(self, request: EmbeddingRequest) -> EmbeddingResponse:
        response = super().embed(request)
        return replace(response, vectors=response.vectors[::-1])


class Greedy(Pretending):
    """Embeds more than one request may hold."""

    supports_embedding = True


def test_provider_that_embeds_passes() -> None:
    assert broken(run(Embedding)) == set()


@pytest.mark.parametrize(
    ("make", "test"),
    [
        (Silent, "generate_returns_text_usage_and_model"),
        (Endless, "a_stream_joins_to_a_finished_answer"),
        (OneChunk, "a_stream_joins_to_a_finished_answer"),
        (Empty, "a_stream_joins_to_a_finished_answer"),
        (Wordy, "an_answer_stays_within_its_token_bound"),
        (Unmarked, "an_answer_stays_within_its_token_bound"),
        (Uncounted, "tokens_are_positive_and_below_their_bound"),
        (Overcounted, "tokens_are_positive_and_below_their_bound"),
        (WrongJson, "a_schema_is_answered_with_its_json"),
        (Mangled, "text_in_any_script_survives"),
        (Untyped, "an_empty_prompt_is_answered_or_refused_with_a_typed_error"),
        (Talkative, "errors_hold_no_text_of_the_request"),
        (Unpicklable, "errors_survive_pickling"),
        (Chained, "errors_are_not_chained_to_text_of_the_request"),
        (ClosedForGood, "a_closed_provider_answers_again"),
        (Pinging, "a_ping_says_whether_it_could_ask"),
        (Pretending, "texts_are_embedded_in_order_or_refused"),
        (Shuffling, "texts_are_embedded_in_order_or_refused"),
        (Greedy, "texts_are_embedded_in_order_or_refused"),
        (Mixed, "many_threads_share_one_provider"),
        (Eager, "construction_is_cheap"),
        (Flagless, "flags_are_of_the_declared_types"),
    ],
)
def test_provider_that_breaks_a_rule_fails_its_test(
    make: Callable[[], BaseProvider], test: str
) -> None:
    assert test in broken(run(make))


def test_live_suites_may_say_that_answers_do_not_repeat() -> None:
    assert "many_threads_share_one_provider" in broken(run(Mixed))
    assert broken(run(Mixed, answers_repeat=False)) == set()


def test_provider_that_is_said_to_fail_must_fail() -> None:
    result = run(PlainProvider, make_failing_provider=lambda self: PlainProvider())
    assert broken(result) == {
        "errors_hold_no_text_of_the_request",
        "errors_are_not_chained_to_text_of_the_request",
        "errors_survive_pickling",
    }


def test_sdk_must_not_be_imported_by_the_constructor(monkeypatch: pytest.MonkeyPatch) -> None:
    class Importing(PlainProvider):
        sdk_module = "sdk_of_the_test"

        def __init__(self) -> None:
            if not is_lazy:
                monkeypatch.setitem(sys.modules, self.sdk_module, types.ModuleType("sdk"))

    is_lazy = True
    assert broken(run(Importing)) == set()
    is_lazy = False
    forget = lambda self: sys.modules.pop("sdk_of_the_test", None)  # noqa: E731 - a method
    assert broken(run(Importing, setUp=forget)) == {"construction_is_cheap"}


def test_make_provider_must_be_written() -> None:
    case = type("Case", (ProviderContract, unittest.TestCase), {})
    with pytest.raises(NotImplementedError):
        case("test_construction_is_cheap").make_provider()
