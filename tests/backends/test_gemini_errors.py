"""Refusals, broken answers and cut streams of google-genai become our errors, one by one."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

import pytest

from django_obc_ai.backends.providers._gemini import error_of
from django_obc_ai.exceptions import (
    BadResponseError,
    InvalidRequestError,
    ObcAIError,
    RateLimitError,
    StreamInterruptedError,
    TransientError,
)
from tests.backends.gemini_cases import MARK, REFUSALS, ask, billed, chain
from tests.backends.ways import STREAMED, WAYS, run
from tests.servers.gemini import GeminiServer, Reply, replies


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("reply", "kind", "retryable", "retry_after"), REFUSALS)
def test_refusals(
    make_provider: Any,
    gemini_server: GeminiServer,
    way: str,
    reply: Reply,
    kind: type[ObcAIError],
    retryable: bool,
    retry_after: float | None,
) -> None:
    gemini_server.script(reply)
    with pytest.raises(ObcAIError) as caught:
        run(make_provider(), way)
    error = caught.value
    assert type(error) is kind
    assert error.retryable is retryable
    assert error.retry_after_seconds == retry_after
    assert not error.is_possibly_billed
    assert error.usage is None
    assert len(gemini_server.journal) == 1


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "reply",
    [
        replies.error(400, error_message=f"GenerateContentRequest.contents[0]: {MARK}"),
        replies.error(429, error_message=MARK),
        replies.error(500, error_message=MARK, error_shape="array"),
        replies.broken_body("broken", text=MARK),
        replies.cut("error", 0, error_message=MARK),
    ],
)
def test_errors_tell_neither_prompt_nor_key_and_can_be_pickled(
    make_provider: Any, gemini_server: GeminiServer, way: str, reply: Reply
) -> None:
    gemini_server.script(reply)
    with pytest.raises(ObcAIError) as caught:
        run(make_provider(), way, prompt=MARK)
    for shown in chain(caught.value):
        assert MARK not in str(shown)
        assert MARK not in repr(shown)
        assert gemini_server.key not in repr(shown)
    again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own
    assert (type(again), str(again)) == (type(caught.value), str(caught.value))
    assert again.retryable == caught.value.retryable


def test_the_field_that_was_refused_is_named(
    make_provider: Any, gemini_server: GeminiServer
) -> None:
    message = f"* GenerateContentRequest.generation_config.top_k: {MARK} is too large\n"
    gemini_server.script(replies.error(400, error_message=message))
    with pytest.raises(InvalidRequestError, match=r"at generation_config\.top_k"):
        run(make_provider(), "generate")


def test_a_project_without_billing_is_told_so(
    make_provider: Any, gemini_server: GeminiServer
) -> None:
    gemini_server.script(replies.error(400, error_status="FAILED_PRECONDITION"))
    with pytest.raises(InvalidRequestError, match="enable billing"):
        run(make_provider(), "generate")


# --- Bodies ---------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("body", ["empty", "broken", "html"])
def test_bodies_that_are_no_answer(
    make_provider: Any, gemini_server: GeminiServer, way: str, body: Any
) -> None:
    gemini_server.script(replies.broken_body(body))
    with pytest.raises(ObcAIError) as caught:
        run(make_provider(), way)
    # Part of a stream may have been read before it broke.
    assert isinstance(caught.value, (BadResponseError, StreamInterruptedError))
    assert caught.value.is_possibly_billed
    assert len(gemini_server.journal) == 1


@pytest.mark.parametrize("way", ["generate", "agenerate"])
@pytest.mark.parametrize("how", ["rst", "fin", "no_answer"])
def test_a_whole_answer_that_breaks_off_may_be_billed(
    make_provider: Any, gemini_server: GeminiServer, way: str, how: Any
) -> None:
    gemini_server.script(replies.cut(how))
    with pytest.raises(TransientError) as caught:
        run(make_provider(), way)
    assert caught.value.retryable and caught.value.is_possibly_billed


# --- Streams --------------------------------------------------------------------------


def collect(provider: Any, way: str, **fields: Any) -> tuple[list[str], BaseException | None]:
    """The texts that came, and what ended the stream."""
    texts: list[str] = []

    async def read() -> None:
        async for chunk in provider.astream(ask(**fields)):
            texts.append(chunk.text)  # noqa: PERF401 - what came before an error counts

    try:
        if way == "astream":
            asyncio.run(read())
        else:
            for chunk in provider.stream(ask(**fields)):
                texts.append(chunk.text)  # noqa: PERF401 - as above
    except ObcAIError as error:
        return texts, error
    return texts, None


@pytest.mark.parametrize("way", STREAMED)
@pytest.mark.parametrize("how", ["clean", "rst", "fin", "error"])
def test_a_cut_stream_is_interrupted_with_the_floor_that_was_seen(
    make_provider: Any, gemini_server: GeminiServer, way: str, how: Any
) -> None:
    gemini_server.script(
        replies.cut(how, 2, text="one two three four", thoughts_tokens=30, chunk_interval_seconds=0)
    )
    texts, error = collect(make_provider(), way)
    assert type(error) is StreamInterruptedError
    assert not error.retryable
    assert error.usage is not None and not error.usage.is_exact
    assert error.usage.thinking_tokens == 30
    (entry,) = gemini_server.journal
    if how != "rst":  # a reset may take what was sent and not yet read with it
        assert len(texts) == 2
        assert billed(error.usage) == entry.billed


@pytest.mark.parametrize("way", STREAMED)
def test_a_stream_that_is_cut_before_its_first_piece_may_be_tried_again(
    make_provider: Any, gemini_server: GeminiServer, way: str
) -> None:
    gemini_server.script(replies.cut("no_answer"))
    _, error = collect(make_provider(), way)
    assert type(error) is TransientError
    assert error.retryable


@pytest.mark.parametrize("way", STREAMED)
def test_a_stream_without_any_piece_is_no_answer(
    make_provider: Any, gemini_server: GeminiServer, way: str
) -> None:
    gemini_server.script(replies.cut("clean", 0))
    _, error = collect(make_provider(), way)
    assert type(error) is BadResponseError


@pytest.mark.parametrize("way", STREAMED)
def test_leaving_a_stream_closes_its_connection(
    make_provider: Any, gemini_server: GeminiServer, way: str
) -> None:
    gemini_server.script(replies.cut("hang", 2))
    provider = make_provider()

    async def leave() -> None:
        chunks = provider.astream(ask())
        await anext(chunks)
        await chunks.aclose()

    if way == "astream":
        asyncio.run(leave())
    else:
        chunks = provider.stream(ask())
        next(chunks)
        chunks.close()
    assert gemini_server.journal[0].client_left


@pytest.mark.parametrize(
    "details",
    [7, "x", {"reason": "x"}, [7, None], [{"violations": ["x", None]}], [{"violations": 7}],
     [{"violations": {"quotaId": "x"}}], [{"retryDelay": 5}], [{"retryDelay": None}]],
)  # fmt: skip
@pytest.mark.parametrize("status", [400, 429, 503])
def test_details_of_another_shape_are_ignored(status: int, details: Any) -> None:
    body = {"error": {"status": 7, "message": ["x"], "details": details}}
    error = error_of(status, body)
    kinds = {400: InvalidRequestError, 429: RateLimitError, 503: TransientError}
    assert type(error) is kinds[status]
    assert error.retry_after_seconds is None
