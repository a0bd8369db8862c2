"""What google-genai's provider reports as used, and its embeddings, counts and pings."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest

from django_obc_ai.backends.providers._gemini import read_piece
from django_obc_ai.backends.providers._streams import StreamReader
from django_obc_ai.backends.providers._vectors import unit_rows
from django_obc_ai.exceptions import (
    AuthenticationError,
    BadResponseError,
    ContentBlockedError,
    InvalidRequestError,
    ModelNotFoundError,
)
from django_obc_ai.types import EmbeddingRequest, Message, Usage
from tests.backends.gemini_cases import ask, billed
from tests.backends.ways import STREAMED, WAYS, run
from tests.servers.gemini import BAD_KEY, GeminiServer, replies


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "reply", [replies.answer(usage="missing"), replies.usage_zero()], ids=["missing", "zero"]
)
def test_a_count_that_is_missing_is_none_not_zero(
    make_provider: Any, gemini_server: GeminiServer, way: str, reply: Any
) -> None:
    gemini_server.script(reply)
    assert run(make_provider(), way).usage is None
    assert gemini_server.journal[0].is_billed


@pytest.mark.parametrize("way", WAYS)
def test_what_the_total_has_and_nothing_explains_is_booked_as_thinking(
    make_provider: Any, gemini_server: GeminiServer, way: str
) -> None:
    gemini_server.script(
        replies.answer(thoughts_tokens=40, usage_fields={"thoughtsTokenCount": None})
    )
    usage = run(make_provider(), way).usage
    assert usage is not None
    assert billed(usage) == gemini_server.journal[0].billed
    assert not usage.is_exact


@pytest.mark.parametrize("way", WAYS)
def test_a_total_below_its_parts_is_not_believed(
    make_provider: Any, gemini_server: GeminiServer, way: str
) -> None:
    gemini_server.script(replies.usage_contradictory(1))
    usage = run(make_provider(), way).usage
    assert usage is not None
    assert billed(usage) == gemini_server.journal[0].billed
    assert not usage.is_exact


@pytest.mark.parametrize(
    "fields",
    [{"promptTokenCount": -5}, {"cachedContentTokenCount": 10_000}, {"candidatesTokenCount": -1}],
)
def test_impossible_counts_are_inexact_and_lower_nothing(
    make_provider: Any, gemini_server: GeminiServer, fields: dict[str, int]
) -> None:
    gemini_server.script(replies.answer(usage_fields=fields))
    usage = run(make_provider(), "generate").usage
    assert usage is not None and not usage.is_exact
    assert min(usage.input_tokens, usage.output_tokens, usage.cached_tokens) >= 0
    assert usage.input_tokens >= usage.cached_tokens


@pytest.mark.parametrize("way", STREAMED)
def test_counts_that_come_with_the_last_piece_alone(
    make_provider: Any, gemini_server: GeminiServer, way: str
) -> None:
    gemini_server.script(replies.answer(usage="last_only", thoughts_tokens=12))
    usage = run(make_provider(), way).usage
    assert usage is not None and usage.is_exact
    assert billed(usage) == gemini_server.journal[0].billed


@pytest.mark.parametrize("way", STREAMED)
def test_counts_that_miss_the_last_piece_are_a_floor(
    make_provider: Any, gemini_server: GeminiServer, way: str
) -> None:
    gemini_server.script(replies.answer("one two three four five six", usage="not_last"))
    usage = run(make_provider(), way).usage
    assert usage is not None and not usage.is_exact
    assert 0 < usage.total_tokens < gemini_server.journal[0].billed.total


# --- Embeddings -----------------------------------------------------------------------


MODEL = "gemini-embedding-001"


def texts(count: int) -> tuple[str, ...]:
    return tuple(f"Barangay number {number}" for number in range(count))


@pytest.mark.parametrize("model", ["gemini-embedding-001", "gemini-embedding-2"])
def test_each_text_has_a_vector_of_unit_length_in_order(
    make_provider: Any, gemini_server: GeminiServer, model: str
) -> None:
    provider = make_provider()
    found = provider.embed(EmbeddingRequest(model=model, texts=texts(100), dimension=256))
    assert found.vectors.shape == (100, 256)
    assert found.vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1, atol=1e-5)
    alone = provider.embed(
        EmbeddingRequest(model=model, texts=("Barangay number 63",), dimension=256)
    )
    np.testing.assert_allclose(alone.vectors[0], found.vectors[63], atol=1e-5)
    many, one = gemini_server.journal
    assert many.operation == one.operation == "batchEmbedContents"
    assert found.model == model


@pytest.mark.parametrize("purpose", ["document", "query", "similarity"])
def test_the_purpose_of_an_embedding_is_said(
    make_provider: Any, gemini_server: GeminiServer, purpose: Any
) -> None:
    make_provider().embed(EmbeddingRequest(model=MODEL, texts=("a text",), purpose=purpose))
    (entry,) = gemini_server.journal
    sent = {  # names or the numbers that stand for them
        "query": ("RETRIEVAL_QUERY", 1),
        "document": ("RETRIEVAL_DOCUMENT", 2),
        "similarity": ("SEMANTIC_SIMILARITY", 3),
    }
    assert entry.body["requests"][0]["taskType"] in sent[purpose]


@pytest.mark.parametrize("given", [texts(101), (), ("one", " ")])
def test_what_the_api_would_refuse_or_misread_is_not_sent(
    make_provider: Any, gemini_server: GeminiServer, given: tuple[str, ...]
) -> None:
    with pytest.raises(InvalidRequestError, match=r"texts|empty"):
        make_provider().embed(EmbeddingRequest(model=MODEL, texts=given))
    assert gemini_server.journal == []


@pytest.mark.parametrize(
    "rows", [[[3.0, 4.0]], [[3.0, 4.0], [1.0]], [[], []], [None, None], [[1.0, float("nan")]] * 2]
)
def test_rows_that_do_not_fit_the_texts_are_not_used(rows: Any) -> None:
    usage = Usage(input_tokens=4)
    request = EmbeddingRequest(model=MODEL, texts=texts(2))
    with pytest.raises(BadResponseError) as caught:
        unit_rows(rows, request, usage)
    assert caught.value.usage == usage


# --- Free questions -------------------------------------------------------------------


def test_tokens_are_counted_with_system_and_history(
    make_provider: Any, gemini_server: GeminiServer
) -> None:
    provider = make_provider()
    plain = provider.count_tokens(ask())
    history = (Message(role="user", text="Hello there"), Message(role="assistant", text="Hi"))
    with_all = provider.count_tokens(ask(system="Be brief, please.", history=history))
    assert 0 < plain < with_all
    assert not any(entry.is_billed for entry in gemini_server.journal)


def test_the_count_is_what_the_answer_bills(
    make_provider: Any, gemini_server: GeminiServer
) -> None:
    provider = make_provider()
    counted = provider.count_tokens(ask(system="Be brief, please."))
    provider.generate(ask(system="Be brief, please."))
    assert counted == gemini_server.journal[-1].billed.prompt


def test_a_ping_asks_for_the_model_and_costs_nothing(
    make_provider: Any, gemini_server: GeminiServer
) -> None:
    assert make_provider().ping() is True
    (entry,) = gemini_server.journal
    assert (entry.operation, entry.model) == ("models.get", "gemini-2.5-flash")
    assert not entry.is_billed
    with pytest.raises(AuthenticationError):
        make_provider(api_key=BAD_KEY).ping()
    with pytest.raises(ModelNotFoundError):
        make_provider(model="gemini-unknown").ping()


def test_counts_that_fall_in_a_stream_of_gemini_are_not_believed() -> None:
    reader = StreamReader(read_piece, contextlib.nullcontext)
    counts = {"promptTokenCount": 9, "candidatesTokenCount": 450, "totalTokenCount": 459}
    candidate = {"content": {"parts": [{"text": "word"}]}}
    reader.read({"candidates": [candidate], "usageMetadata": counts})
    counts |= {"candidatesTokenCount": 2, "totalTokenCount": 11}
    last = {"candidates": [candidate | {"finishReason": "STOP"}], "usageMetadata": counts}
    told = reader.read(last).usage
    expected = Usage(input_tokens=9, output_tokens=450, is_exact=False)
    assert told == reader.finish().usage == expected


@pytest.mark.parametrize("is_counted", [True, False])
def test_a_block_in_mid_stream_has_a_floor_only(is_counted: bool) -> None:
    reader = StreamReader(read_piece, contextlib.nullcontext)
    counts = {"promptTokenCount": 9, "candidatesTokenCount": 2, "totalTokenCount": 11}
    reader.read({"candidates": [{"content": {"parts": [{"text": "w"}]}}], "usageMetadata": counts})
    block: dict[str, Any] = {"promptFeedback": {"blockReason": "SAFETY"}}
    with pytest.raises(ContentBlockedError) as caught:
        reader.read(block | ({"usageMetadata": counts} if is_counted else {}))
    assert caught.value.usage == Usage(input_tokens=9, output_tokens=2, is_exact=False)
