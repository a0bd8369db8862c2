"""One call of google-genai is one request, with everything that was asked for in it."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from django_obc_ai.exceptions import (
    ConfigurationError,
    ContentBlockedError,
    InvalidRequestError,
    ProviderTimeoutError,
    TransientError,
)
from django_obc_ai.types import Message, ProviderResponse, StreamChunk
from tests.backends.gemini_cases import ask, billed
from tests.servers.gemini import GeminiServer, RemoteGemini, closed_port, key_id, replies

if importlib.util.find_spec("google.genai") is None:
    pytest.skip("google-genai is not installed", allow_module_level=True)

from django_obc_ai.backends.providers.google_genai import GoogleGenAIProvider

SCHEMA = {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]}


@pytest.fixture
def make(gemini_server: GeminiServer) -> Iterator[Any]:
    made = []

    def build(**options: Any) -> GoogleGenAIProvider:
        defaults = {
            "api_key": gemini_server.key,
            "model": "gemini-2.5-flash",
            "base_url": gemini_server.url,
        }
        made.append(GoogleGenAIProvider(**{**defaults, **options}))
        return made[-1]

    yield build
    for each in made:
        each.close()


def run(provider: GoogleGenAIProvider, way: str, **fields: Any) -> ProviderResponse:
    """Ask in one of the four ways and return the whole answer."""
    request = ask(**fields)
    if way == "generate":
        return provider.generate(request)
    if way == "agenerate":
        return asyncio.run(provider.agenerate(request))
    chunks: list[StreamChunk]
    if way == "stream":
        chunks = list(provider.stream(request))
    else:

        async def collect() -> list[StreamChunk]:
            return [chunk async for chunk in provider.astream(request)]

        chunks = asyncio.run(collect())
    last = chunks[-1]
    assert last.finish_reason is not None
    return ProviderResponse(
        text="".join(chunk.text for chunk in chunks),
        finish_reason=last.finish_reason,
        usage=last.usage,
        model=last.model,
    )


WAYS = ("generate", "agenerate", "stream", "astream")


@pytest.mark.parametrize("way", WAYS)
def test_the_request_says_what_was_asked_for(
    make: Any, gemini_server: GeminiServer, way: str
) -> None:
    provider = make(
        temperature=0.5,
        safety_settings={"HARM_CATEGORY_HARASSMENT": "BLOCK_NONE"},
        thinking_budget=64,
    )
    history = (Message(role="user", text="Hello"), Message(role="assistant", text="Hi"))
    run(provider, way, system="Be brief.", history=history, response_schema=SCHEMA, temperature=0.1)

    (entry,) = gemini_server.journal
    assert entry.api_version == "v1beta"
    body = entry.body
    assert [(c["role"], c["parts"][0]["text"]) for c in body["contents"]][:2] == [
        ("user", "Hello"),
        ("model", "Hi"),
    ]
    assert body["systemInstruction"]["parts"][0]["text"] == "Be brief."
    config = body["generationConfig"]
    assert config["temperature"] == 0.1
    assert config["maxOutputTokens"] == 8192
    assert config["responseMimeType"] == "application/json"
    assert config["responseJsonSchema"] == SCHEMA
    assert body["safetySettings"] == [
        {"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}
    ]
    thinking = config["thinkingConfig"]
    assert thinking.get("thinkingBudget", thinking.get("thinking_budget")) == 64


def test_options_that_are_not_set_are_not_sent(make: Any, gemini_server: GeminiServer) -> None:
    make().generate(ask())
    (entry,) = gemini_server.journal
    assert set(entry.body["generationConfig"]) == {"maxOutputTokens"}
    assert "systemInstruction" not in entry.body
    assert "safetySettings" not in entry.body


def test_a_call_may_name_its_own_model_limit_and_thinking_budget(
    make: Any, gemini_server: GeminiServer
) -> None:
    make(thinking_budget=64).generate(
        ask(model="models/gemini-2.5-pro", max_output_tokens=7, options={"thinking_budget": 0})
    )
    (entry,) = gemini_server.journal
    assert entry.model == "gemini-2.5-pro"
    assert entry.body["generationConfig"]["maxOutputTokens"] == 7


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_the_sdk_repeats_nothing(
    make: Any, gemini_server: GeminiServer, way: str, status: int
) -> None:
    gemini_server.script(replies.error(status), is_repeated=True)
    with pytest.raises(Exception, match=str(status)):
        run(make(), way)
    assert len(gemini_server.journal) == 1


@pytest.mark.parametrize("way", WAYS)
def test_continuations_are_not_followed(make: Any, gemini_server: GeminiServer, way: str) -> None:
    gemini_server.script(replies.finished("CONTINUATION", continuation_token="more", text="Half"))
    answer = run(make(), way)
    assert (answer.text, answer.finish_reason) == ("Half", "other")
    assert len(gemini_server.journal) == 1


@pytest.mark.parametrize("way", ["stream", "astream"])
def test_a_broken_stream_with_a_continuation_token_is_not_resumed(
    make: Any, gemini_server: GeminiServer, way: str
) -> None:
    gemini_server.script(replies.cut("rst", 2, continuation_token="more"))
    with pytest.raises(Exception, match="broke off"):
        run(make(), way)
    assert len(gemini_server.journal) == 1


@pytest.mark.parametrize("way", WAYS)
def test_every_kind_of_token_is_counted(make: Any, gemini_server: GeminiServer, way: str) -> None:
    gemini_server.script(replies.answer(cached_tokens=3, thoughts_tokens=40, tool_tokens=9))
    answer = run(make(), way)
    assert answer.usage is not None and answer.usage.is_exact
    assert billed(answer.usage) == gemini_server.journal[0].billed
    assert answer.usage.thinking_tokens == 40


@pytest.mark.parametrize("way", WAYS)
def test_the_model_that_answers_is_named(make: Any, way: str) -> None:
    assert run(make(model="gemini-flash-latest"), way).model == "gemini-3.8-flash"


@pytest.mark.parametrize("way", WAYS)
def test_a_blocked_prompt_raises_with_what_it_cost(
    make: Any, gemini_server: GeminiServer, way: str
) -> None:
    gemini_server.script(replies.blocked_prompt("PROHIBITED_CONTENT"))
    with pytest.raises(ContentBlockedError, match="PROHIBITED_CONTENT") as caught:
        run(make(), way)
    assert billed(caught.value.usage) == gemini_server.journal[0].billed


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("sent", "ours"),
    [("SAFETY", "blocked"), ("RECITATION", "blocked"), ("LANGUAGE", "blocked"),
     ("MALFORMED_FUNCTION_CALL", "other"), ("MAX_TOKENS", "length"), ("OTHER", "other")],
)  # fmt: skip
def test_finish_reasons_become_ours(
    make: Any, gemini_server: GeminiServer, way: str, sent: str, ours: str
) -> None:
    gemini_server.script(replies.finished(sent))
    assert run(make(), way).finish_reason == ours


def test_a_finish_reason_that_nobody_knows_yet_is_other(
    make: Any, gemini_server: GeminiServer
) -> None:
    gemini_server.script(replies.finished("NEW_REASON", text="Done."))
    assert run(make(), "generate").finish_reason == "other"


def test_thoughts_are_no_part_of_the_answer(make: Any, gemini_server: GeminiServer) -> None:
    from google.genai import types

    from django_obc_ai.backends.providers.google_genai import _read_answer

    parts = [types.Part(text="A thought.", thought=True), types.Part(text="Yes.")]
    candidate = types.Candidate(
        content=types.Content(role="model", parts=parts), finish_reason=types.FinishReason.STOP
    )
    answer = _read_answer(types.GenerateContentResponse(candidates=[candidate]))
    assert answer.text == "Yes."


# --- Time -----------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_an_answer_that_drips_ends_at_the_deadline(
    make: Any, gemini_server: GeminiServer, way: str
) -> None:
    # Each read is served within its timeout; the whole would take minutes.
    gemini_server.script(replies.answer(drip_bytes=1, drip_interval_seconds=0.2))
    with pytest.raises(Exception, match="deadline_seconds") as caught:
        run(make(timeout_seconds=5, deadline_seconds=0.7), way)
    assert caught.type is ProviderTimeoutError or "stream" in way
    (entry,) = gemini_server.journal
    assert entry.client_left


@pytest.mark.parametrize("way", WAYS)
def test_a_server_that_falls_silent_in_mid_answer_is_left_at_the_deadline(
    make: Any, gemini_server: GeminiServer, way: str
) -> None:
    gemini_server.script(replies.cut("hang", 1))
    with pytest.raises(Exception, match="deadline_seconds"):
        run(make(timeout_seconds=60, deadline_seconds=0.5), way)
    assert gemini_server.journal[0].client_left


@pytest.mark.parametrize("way", WAYS)
def test_a_server_that_does_not_answer_times_out(
    make: Any, gemini_server: GeminiServer, way: str
) -> None:
    gemini_server.script(replies.cut("silent"))
    with pytest.raises(ProviderTimeoutError) as caught:
        run(make(timeout_seconds=0.3), way)
    assert caught.value.is_possibly_billed


@pytest.mark.parametrize("way", WAYS)
def test_a_refused_connection_was_surely_not_billed(make: Any, way: str) -> None:
    with closed_port() as url, pytest.raises(TransientError, match="Nothing was sent") as caught:
        run(make(base_url=url), way)
    assert not caught.value.is_possibly_billed
    assert caught.value.retryable


# --- Processes, keys, loops -----------------------------------------------------------


def test_two_aliases_with_two_keys_keep_them_apart(make: Any, gemini_server: GeminiServer) -> None:
    first, second = make(api_key="key-of-the-first"), make(api_key="key-of-the-second")
    with ThreadPoolExecutor(4) as pool:
        for provider in (first, second) * 4:
            pool.submit(provider.generate, ask())
    found = sorted(entry.key_id for entry in gemini_server.journal)
    assert found == sorted([key_id("key-of-the-first"), key_id("key-of-the-second")] * 4)


def test_keys_in_the_environment_are_not_taken(
    make: Any, gemini_server: GeminiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GOOGLE_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.setenv(name, f"key-in-{name}")
    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "true")
    make().generate(ask())
    assert gemini_server.journal[0].key_id == key_id(gemini_server.key)
    with pytest.raises(ConfigurationError, match="api_key"):
        make(api_key="").generate(ask())


def test_one_client_serves_all_threads(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    provider = make()
    built = []
    original = provider._make_client
    monkeypatch.setattr(provider._clients, "_make", lambda: built.append(1) or original())
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda _: provider.generate(ask()).text, range(24)))
    assert built == [1]


def test_a_forked_child_builds_its_own_client(gemini_process: RemoteGemini) -> None:
    provider = GoogleGenAIProvider(
        api_key=gemini_process.key, model="gemini-2.5-flash", base_url=gemini_process.url
    )
    provider.generate(ask())
    mine = provider._clients.get()
    pid = os.fork()
    if pid == 0:
        try:
            is_own = provider._clients.get() is not mine
            os._exit(0 if provider.generate(ask()).text and is_own else 1)
        except BaseException:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert provider.generate(ask()).text
    assert len(gemini_process.journal) == 3
    provider.close()


def test_one_event_loop_after_the_other(make: Any, gemini_server: GeminiServer) -> None:
    provider = make()
    for _ in range(3):
        assert asyncio.run(provider.agenerate(ask())).text
    assert not provider._clients.get()._api_client._async_httpx_client._of_loops
    assert len(gemini_server.journal) == 3


def test_connections_of_a_loop_are_used_again(make: Any) -> None:
    provider = make()

    async def several() -> Any:
        for _ in range(3):
            await provider.agenerate(ask())
        clients = provider._clients.get()._api_client._async_httpx_client._of_loops
        return [client._transport._pool.connections for client, _ in clients.values()]

    ((connection,),) = asyncio.run(several())
    assert "Request Count: 3" in repr(connection)


def test_cancelling_ends_the_request(make: Any, gemini_server: GeminiServer) -> None:
    gemini_server.script(replies.answer(delay_seconds=30))
    provider = make()

    async def start_and_cancel() -> None:
        task = asyncio.ensure_future(provider.agenerate(ask()))
        while not gemini_server.peek():
            await asyncio.sleep(0.01)  # noqa: ASYNC110 - the server runs in a thread
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(start_and_cancel())
    assert gemini_server.journal[0].client_left


def test_a_closed_provider_builds_a_new_client(make: Any) -> None:
    provider = make()
    provider.generate(ask())
    provider.close()
    assert provider.generate(ask()).text


def test_construction_imports_nothing_and_shows_no_key(make: Any) -> None:
    assert "loopback-key" not in repr(make())
    assert GoogleGenAIProvider.is_installed()
    assert "google-genai" in GoogleGenAIProvider.sdk_version() or "google" in sys.modules


# --- Refused before it is sent --------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [{"prompt": " "}, {"max_output_tokens": 0}, {"temperature": 3.0},
     {"options": {"thinking_budget": -2}}, {"options": {"thinking_budget": "64"}}],
)  # fmt: skip
def test_what_the_api_would_refuse_is_not_sent(
    make: Any, gemini_server: GeminiServer, fields: dict[str, Any]
) -> None:
    with pytest.raises(InvalidRequestError):
        make().generate(ask(**fields))
    assert gemini_server.journal == []


@pytest.mark.parametrize(
    ("option", "value"),
    [("timeout_seconds", 0), ("deadline_seconds", "60"), ("max_output_tokens", 0),
     ("max_output_tokens", True), ("temperature", 2.5), ("thinking_budget", -5),
     ("base_url", "ftp://x"), ("safety_settings", {"HARM": "OFF"}),
     ("safety_settings", {"HARM_CATEGORY_HARASSMENT": "NEVER"})],
)  # fmt: skip
def test_options_out_of_range_are_named(make: Any, option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=option):
        make(**{option: value})


def test_a_provider_without_a_model_says_so(make: Any) -> None:
    with pytest.raises(ConfigurationError, match="model"):
        make(model="").generate(ask())
