"""One call of google-genai is one request, with everything that was asked for in it."""

from __future__ import annotations

from typing import Any

import pytest

from django_obc_ai.backends.providers._gemini import read_answer
from django_obc_ai.exceptions import ConfigurationError, ContentBlockedError, InvalidRequestError
from django_obc_ai.types import Message
from tests.backends.gemini_cases import ask, billed
from tests.backends.ways import WAYS, run
from tests.servers.gemini import GeminiServer, replies

SCHEMA = {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]}


@pytest.mark.parametrize("way", WAYS)
def test_the_request_says_what_was_asked_for(
    make_provider: Any, gemini_server: GeminiServer, way: str
) -> None:
    provider = make_provider(
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
    (safety,) = body["safetySettings"]  # names or the numbers that stand for them
    assert safety["category"] in ("HARM_CATEGORY_HARASSMENT", 7)
    assert safety["threshold"] in ("BLOCK_NONE", 4)
    thinking = config["thinkingConfig"]
    assert thinking.get("thinkingBudget", thinking.get("thinking_budget")) == 64


def test_options_that_are_not_set_are_not_sent(
    make_provider: Any, gemini_server: GeminiServer
) -> None:
    make_provider().generate(ask())
    (entry,) = gemini_server.journal
    assert set(entry.body["generationConfig"]) == {"maxOutputTokens"}
    assert "systemInstruction" not in entry.body
    assert "safetySettings" not in entry.body


def test_a_call_may_name_its_own_model_limit_and_thinking_budget(
    make_provider: Any, gemini_server: GeminiServer
) -> None:
    make_provider(thinking_budget=64).generate(
        ask(model="models/gemini-2.5-pro", max_output_tokens=7, options={"thinking_budget": 0})
    )
    (entry,) = gemini_server.journal
    assert entry.model == "gemini-2.5-pro"
    assert entry.body["generationConfig"]["maxOutputTokens"] == 7


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_the_sdk_repeats_nothing(
    make_provider: Any, gemini_server: GeminiServer, way: str, status: int
) -> None:
    gemini_server.script(replies.error(status), is_repeated=True)
    with pytest.raises(Exception, match=str(status)):
        run(make_provider(), way)
    assert len(gemini_server.journal) == 1


@pytest.mark.parametrize("way", WAYS)
def test_continuations_are_not_followed(
    make_provider: Any, gemini_server: GeminiServer, way: str
) -> None:
    gemini_server.script(replies.finished("CONTINUATION", continuation_token="more", text="Half"))
    answer = run(make_provider(), way)
    assert (answer.text, answer.finish_reason) == ("Half", "other")
    assert len(gemini_server.journal) == 1


@pytest.mark.parametrize("way", ["stream", "astream"])
def test_a_broken_stream_with_a_continuation_token_is_not_resumed(
    make_provider: Any, gemini_server: GeminiServer, way: str
) -> None:
    gemini_server.script(replies.cut("rst", 2, continuation_token="more"))
    with pytest.raises(Exception, match="broke off"):
        run(make_provider(), way)
    assert len(gemini_server.journal) == 1


@pytest.mark.parametrize("way", WAYS)
def test_every_kind_of_token_is_counted(
    make_provider: Any, gemini_server: GeminiServer, way: str
) -> None:
    gemini_server.script(replies.answer(cached_tokens=3, thoughts_tokens=40, tool_tokens=9))
    answer = run(make_provider(), way)
    assert answer.usage is not None and answer.usage.is_exact
    assert billed(answer.usage) == gemini_server.journal[0].billed
    assert answer.usage.thinking_tokens == 40


@pytest.mark.parametrize("way", WAYS)
def test_the_model_that_answers_is_named(make_provider: Any, way: str) -> None:
    assert run(make_provider(model="gemini-flash-latest"), way).model == "gemini-3.8-flash"


@pytest.mark.parametrize("way", WAYS)
def test_a_blocked_prompt_raises_with_what_it_cost(
    make_provider: Any, gemini_server: GeminiServer, way: str
) -> None:
    gemini_server.script(replies.blocked_prompt("PROHIBITED_CONTENT"))
    with pytest.raises(ContentBlockedError, match="PROHIBITED_CONTENT") as caught:
        run(make_provider(), way)
    assert billed(caught.value.usage) == gemini_server.journal[0].billed


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("sent", "ours"),
    [("SAFETY", "blocked"), ("RECITATION", "blocked"), ("LANGUAGE", "blocked"),
     ("MALFORMED_FUNCTION_CALL", "other"), ("MAX_TOKENS", "length"), ("OTHER", "other")],
)  # fmt: skip
def test_finish_reasons_become_ours(
    make_provider: Any, gemini_server: GeminiServer, way: str, sent: str, ours: str
) -> None:
    gemini_server.script(replies.finished(sent))
    assert run(make_provider(), way).finish_reason == ours


def test_a_finish_reason_that_nobody_knows_yet_is_other(
    make_provider: Any, gemini_server: GeminiServer
) -> None:
    gemini_server.script(replies.finished("NEW_REASON", text="Done."))
    assert run(make_provider(), "generate").finish_reason == "other"


def test_thoughts_are_no_part_of_the_answer() -> None:
    parts = [{"text": "A thought.", "thought": True}, {"text": "Yes."}]
    candidate = {"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}
    assert read_answer({"candidates": [candidate]}).text == "Yes."


# --- Refused before it is sent --------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [{"prompt": " "}, {"max_output_tokens": 0}, {"temperature": 3.0},
     {"options": {"thinking_budget": -2}}, {"options": {"thinking_budget": "64"}}],
)  # fmt: skip
def test_what_the_api_would_refuse_is_not_sent(
    make_provider: Any, gemini_server: GeminiServer, fields: dict[str, Any]
) -> None:
    with pytest.raises(InvalidRequestError):
        make_provider().generate(ask(**fields))
    assert gemini_server.journal == []


@pytest.mark.parametrize(
    ("option", "value"),
    [("timeout_seconds", 0), ("deadline_seconds", "60"), ("max_output_tokens", 0),
     ("max_output_tokens", True), ("temperature", 2.5), ("thinking_budget", -5),
     ("base_url", "ftp://x"), ("safety_settings", {"HARM": "OFF"}),
     ("safety_settings", {"HARM_CATEGORY_HARASSMENT": "NEVER"})],
)  # fmt: skip
def test_options_out_of_range_are_named(make_provider: Any, option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=option):
        make_provider(**{option: value})


def test_a_provider_without_a_model_says_so(make_provider: Any) -> None:
    with pytest.raises(ConfigurationError, match="model"):
        make_provider(model="").generate(ask())
