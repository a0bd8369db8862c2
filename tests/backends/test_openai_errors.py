"""Refusals, broken answers and cut streams of OpenAI's protocol become our errors."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

import pytest

from django_obc_ai.exceptions import (
    AuthenticationError,
    BadResponseError,
    ContentBlockedError,
    InvalidRequestError,
    ModelNotFoundError,
    ObcAIError,
    ProviderTimeoutError,
    QuotaExhaustedError,
    RateLimitError,
    StreamInterruptedError,
    TransientError,
)
from django_obc_ai.types import Usage
from tests.backends.conftest import MakeProvider
from tests.backends.gemini_cases import MARK, ask, chain
from tests.backends.ways import STREAMED, WAYS, run
from tests.extras import requires
from tests.servers.chat_completions import BAD_KEY, ChatCompletionsServer, Reply
from tests.servers.gemini import closed_port

pytestmark = requires("openai")
Server = ChatCompletionsServer


def refusal(status: int, **fields: Any) -> Reply:
    return Reply(status=status, error={"message": MARK, **fields})


def caught(provider: Any, way: str, **fields: Any) -> ObcAIError:
    with pytest.raises(ObcAIError) as found:
        run(provider, way, **fields)
    return found.value


#: Reply, class of the error, whether it may be tried again, seconds that the server asks for.
REFUSALS: list[Any] = [
    (refusal(400, type="invalid_request_error", param="messages[0].role"),
     InvalidRequestError, False, None),
    (refusal(400, code="content_filter"), ContentBlockedError, False, None),
    (refusal(400, code="content_policy_violation"), ContentBlockedError, False, None),
    (refusal(401, code="invalid_api_key"), AuthenticationError, False, None),
    (refusal(402), QuotaExhaustedError, False, None),
    (refusal(403), AuthenticationError, False, None),
    (refusal(404, code="model_not_found"), ModelNotFoundError, False, None),
    (refusal(408), ProviderTimeoutError, True, None),
    (refusal(409), TransientError, True, None),
    (refusal(422), InvalidRequestError, False, None),
    (refusal(429), RateLimitError, True, None),
    (refusal(429, code="insufficient_quota"), QuotaExhaustedError, False, None),
    (refusal(429, type="billing_hard_limit_reached"), QuotaExhaustedError, False, None),
    (Reply(status=429, headers={"Retry-After": "7"}), RateLimitError, True, 7.0),
    (Reply(status=429, headers={"Retry-After-Ms": "1500", "Retry-After": "2"}),
     RateLimitError, True, 1.5),
    (Reply(status=429, headers={"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}),
     RateLimitError, True, None),
    (Reply(status=503, headers={"Retry-After": "3"}), TransientError, True, 3.0),
    (refusal(500, code=MARK), TransientError, True, None),
    (refusal(501), InvalidRequestError, False, None),
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("reply", "kind", "retryable", "retry_after"), REFUSALS)
def test_refusals(
    make_openai: MakeProvider,
    chat_completions_server: Server,
    way: str,
    reply: Reply,
    kind: type[ObcAIError],
    retryable: bool,
    retry_after: float | None,
) -> None:
    chat_completions_server.script(reply)
    error = caught(make_openai(), way, prompt=MARK)
    assert type(error) is kind
    assert error.retryable is retryable
    assert error.retry_after_seconds == retry_after
    assert not error.is_possibly_billed
    assert error.usage is None
    assert len(chat_completions_server.journal) == 1  # the package's own retries are off
    for shown in chain(error):
        assert MARK not in str(shown) + repr(shown)
    assert type(pickle.loads(pickle.dumps(error))) is kind  # noqa: S301 - our own bytes


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("status", [502, 504, 520, 522, 524, 527])
def test_a_proxy_may_give_up_on_an_answer_that_is_billed(
    make_openai: MakeProvider, chat_completions_server: Server, way: str, status: int
) -> None:
    chat_completions_server.script(refusal(status))
    error = caught(make_openai(), way)
    assert type(error) is (ProviderTimeoutError if status in (504, 522, 524) else TransientError)
    assert error.retryable and error.is_possibly_billed
    assert len(chat_completions_server.journal) == 1


@pytest.mark.parametrize("way", ["generate", "agenerate"])
@pytest.mark.parametrize("usage", [None, {"completion_tokens": 7, "total_tokens": 16}])
@pytest.mark.parametrize(("code", "kind"), [(429, RateLimitError), (500, TransientError)])
def test_an_error_of_status_200_may_be_billed_and_its_usage_counts(
    make_openai: MakeProvider,
    chat_completions_server: Server,
    way: str,
    usage: Any,
    code: int,
    kind: type[ObcAIError],
) -> None:
    chat_completions_server.script(
        Reply(prompt_tokens=9, body="error", error={"code": code, "message": MARK}, usage=usage)
    )
    error = caught(make_openai(), way)
    assert type(error) is kind
    assert error.is_possibly_billed
    expected = Usage(input_tokens=9, output_tokens=7) if usage else None
    assert (error.usage, error.model) == (expected, "small")


def test_a_refusal_names_the_parameter_and_no_key(
    make_openai: MakeProvider, chat_completions_server: Server
) -> None:
    chat_completions_server.script(refusal(400, type="invalid_request_error", param="messages"))
    error = caught(make_openai(), "generate")
    assert "400 invalid_request_error, at messages" in str(error)
    error = caught(make_openai(api_key=BAD_KEY), "generate")
    assert "401" in str(error) and BAD_KEY not in str(error)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("body", ["empty", "broken", "html"])
def test_a_body_that_is_no_answer(
    make_openai: MakeProvider, chat_completions_server: Server, way: str, body: Any
) -> None:
    chat_completions_server.script(Reply(MARK, body=body))
    error = caught(make_openai(), way)
    assert type(error) is BadResponseError
    assert error.is_possibly_billed


@pytest.mark.parametrize("way", WAYS)
def test_an_answer_that_is_not_finished(
    make_openai: MakeProvider, chat_completions_server: Server, way: str
) -> None:
    chat_completions_server.script(Reply(text="one two three", finish=None))
    error = caught(make_openai(), way)
    assert type(error) is (StreamInterruptedError if way in STREAMED else BadResponseError)
    assert error.usage is not None and error.usage.output_tokens > 0


@pytest.mark.parametrize("way", WAYS)
def test_a_refusal_by_the_model_is_blocked_and_billed(
    make_openai: MakeProvider, chat_completions_server: Server, way: str
) -> None:
    chat_completions_server.script(Reply(refusal="I cannot help with that."))
    error = caught(make_openai(), way)
    assert type(error) is ContentBlockedError
    (entry,) = chat_completions_server.journal
    if way not in STREAMED:  # a stream's counts come last, after the refusal
        assert error.usage is not None
        assert (error.usage.input_tokens, error.usage.output_tokens) == (
            entry.billed[0], entry.billed[2]
        )  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_a_filtered_answer_is_marked_as_blocked(
    make_openai: MakeProvider, chat_completions_server: Server, way: str
) -> None:
    chat_completions_server.script(Reply(text="So far", finish="content_filter"))
    assert run(make_openai(), way).finish_reason == "blocked"


@pytest.mark.parametrize("way", WAYS)
def test_no_server_there(make_openai: MakeProvider, way: str) -> None:
    with closed_port() as url:
        error = caught(make_openai(base_url=f"{url}/v1"), way)
    assert type(error) is TransientError
    assert error.retryable and not error.is_possibly_billed


@pytest.mark.parametrize("way", ["generate", "agenerate"])
@pytest.mark.parametrize("cut", ["rst", "fin"])
def test_a_whole_answer_that_breaks_off_may_be_billed(
    make_openai: MakeProvider, chat_completions_server: Server, way: str, cut: Any
) -> None:
    chat_completions_server.script(Reply(cut=cut))
    error = caught(make_openai(), way)
    assert type(error) is TransientError
    assert error.retryable and error.is_possibly_billed


@pytest.mark.parametrize("way", WAYS)
def test_silence_ends_at_the_timeout_and_dripping_at_the_deadline(
    make_openai: MakeProvider, chat_completions_server: Server, way: str
) -> None:
    chat_completions_server.script(Reply(cut="silent"))
    error = caught(make_openai(timeout_seconds=0.2), way)
    assert type(error) is ProviderTimeoutError
    assert error.is_possibly_billed
    # Every wait is short, so that no timeout ends it.
    chat_completions_server.script(Reply("word " * 200, drip_bytes=4))
    error = caught(make_openai(timeout_seconds=5, deadline_seconds=0.5), way)
    assert type(error) in (ProviderTimeoutError, StreamInterruptedError)


# --- Streams --------------------------------------------------------------------------


@pytest.mark.parametrize("way", STREAMED)
@pytest.mark.parametrize("cut", ["clean", "rst", "fin", "error"])
def test_a_cut_stream_is_interrupted(
    make_openai: MakeProvider, chat_completions_server: Server, way: str, cut: Any
) -> None:
    chat_completions_server.script(Reply(text="one two three four", cut=cut, cut_after=2))
    error = caught(make_openai(), way)
    if cut == "rst" and type(error) is TransientError:  # the reset overtook what was sent
        return
    assert type(error) is StreamInterruptedError
    assert not error.retryable
    assert error.usage is None  # counts come last: nothing was seen of them


@pytest.mark.parametrize("way", STREAMED)
def test_a_cut_stream_keeps_the_counts_that_it_saw(
    make_openai: MakeProvider, chat_completions_server: Server, way: str
) -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}
    chat_completions_server.script(
        Reply(text="one two three four", cut="fin", cut_after=2, piece_usage=usage)
    )
    error = caught(make_openai(), way)
    assert error.usage is not None and not error.usage.is_exact
    assert (error.usage.input_tokens, error.usage.output_tokens) == (9, 1)


@pytest.mark.parametrize("way", STREAMED)
def test_leaving_a_stream_closes_its_connection(
    make_openai: MakeProvider, chat_completions_server: Server, way: str
) -> None:
    chat_completions_server.script(Reply(text="one two three", cut="hang", cut_after=2))
    provider = make_openai()

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
    assert chat_completions_server.journal[0].client_left


@pytest.mark.parametrize("way", STREAMED)
@pytest.mark.parametrize("text", ["", "one two three four"])
def test_a_refusal_in_a_stream_has_a_floor_only(
    make_openai: MakeProvider, chat_completions_server: Server, way: str, text: str
) -> None:
    counts = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
    chat_completions_server.script(Reply(text, refusal="I cannot.", piece_usage=counts))
    error = caught(make_openai(), way)
    assert type(error) is ContentBlockedError
    assert error.usage == Usage(input_tokens=9, output_tokens=2, is_exact=False)
