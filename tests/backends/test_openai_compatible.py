"""The OpenAI-compatible provider passes the contract and sends what was asked for, once."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
from django.test import SimpleTestCase

from django_obc_ai.backends.providers.base import BaseProvider
from django_obc_ai.backends.providers.openai_compatible import OpenAICompatibleProvider
from django_obc_ai.exceptions import (
    AuthenticationError,
    ConfigurationError,
    InvalidRequestError,
    ModelNotFoundError,
)
from django_obc_ai.testing import ProviderContract
from django_obc_ai.types import EmbeddingRequest, Message
from tests.backends.conftest import MakeProvider
from tests.backends.gemini_cases import ask
from tests.backends.ways import WAYS, run
from tests.extras import requires
from tests.servers.chat_completions import (
    BAD_KEY,
    ChatCompletionsServer,
    Reply,
    run_chat_completions,
)

pytestmark = requires("openai")
LOOSE = {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]}
STRICT = {**LOOSE, "additionalProperties": False}


class OpenAICompatibleProviderTests(ProviderContract, SimpleTestCase):
    embedding_model = "embedder"

    def setUp(self) -> None:
        stack = ExitStack()
        self.addCleanup(stack.close)
        self.server = stack.enter_context(run_chat_completions())

    def _make(self, url: str) -> BaseProvider:
        provider = OpenAICompatibleProvider(api_key="sk-key", model="small", base_url=url)
        self.addCleanup(provider.close)
        return provider

    def make_provider(self) -> BaseProvider:
        return self._make(self.server.url)

    def make_failing_provider(self) -> BaseProvider:
        failing = ExitStack()
        self.addCleanup(failing.close)
        server = failing.enter_context(run_chat_completions())
        server.script(Reply(status=500, error={"message": "Kalilintad-4711"}), is_repeated=True)
        return self._make(server.url)


@pytest.mark.parametrize("way", WAYS)
def test_the_request_says_what_was_asked_for(
    make_openai: MakeProvider, chat_completions_server: ChatCompletionsServer, way: str
) -> None:
    history = (Message(role="user", text="Hello"), Message(role="assistant", text="Hi"))
    provider = make_openai(temperature=0.5)
    run(provider, way, system="Be brief.", history=history, max_output_tokens=70, temperature=0.1)
    (entry,) = chat_completions_server.journal
    assert entry.path == "/v1/chat/completions"
    body = entry.body
    assert [(each["role"], each["content"]) for each in body["messages"]][:3] == [
        ("system", "Be brief."),
        ("user", "Hello"),
        ("assistant", "Hi"),
    ]
    assert (body["model"], body["temperature"]) == ("small", 0.1)
    assert body["max_completion_tokens"] == 70
    assert body.get("stream_options") == ({"include_usage": True} if "stream" in way else None)


def test_options_that_are_not_set_are_not_sent(
    make_openai: MakeProvider, chat_completions_server: ChatCompletionsServer
) -> None:
    make_openai(max_tokens_parameter="max_tokens").generate(ask())
    (entry,) = chat_completions_server.journal
    assert set(entry.body) - {"stream"} == {"model", "messages", "max_tokens"}
    assert entry.body["max_tokens"] == 8192


@pytest.mark.parametrize(("schema", "strict"), [(LOOSE, False), (STRICT, True)])
def test_a_schema_is_strict_where_it_can_be(
    make_openai: MakeProvider,
    chat_completions_server: ChatCompletionsServer,
    schema: Any,
    strict: bool,
) -> None:
    make_openai().generate(ask(response_schema=schema))
    (entry,) = chat_completions_server.journal
    asked = entry.body["response_format"]["json_schema"]
    assert (asked["schema"], asked["strict"]) == (schema, strict)


def test_nothing_in_the_environment_is_taken(
    make_openai: MakeProvider,
    chat_completions_server: ChatCompletionsServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://192.0.2.1/v1")
    for name in ("API_KEY", "ORG_ID", "PROJECT_ID", "ADMIN_KEY", "WEBHOOK_SECRET"):
        monkeypatch.setenv(f"OPENAI_{name}", f"from-the-environment-{name}")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Custom: from-the-environment")
    provider = make_openai()
    provider.generate(ask())
    asyncio.run(provider.agenerate(ask()))
    for entry in chat_completions_server.journal:
        assert entry.key == chat_completions_server.key
        assert "from-the-environment" not in str(entry.headers)
    with pytest.raises(ConfigurationError, match="no API key"):
        make_openai(api_key="").generate(ask())


def test_a_local_server_needs_no_key_and_is_free(
    make_openai: MakeProvider, chat_completions_server: ChatCompletionsServer
) -> None:
    provider = make_openai(api_key="", is_local=True)
    assert (provider.is_free, provider.requires_api_key) == (True, False)
    assert provider.generate(ask()).text
    assert chat_completions_server.journal[0].key == "none"
    assert (make_openai().is_free, make_openai().requires_api_key) == (False, True)


def test_two_aliases_with_two_keys_keep_them_apart(
    make_openai: MakeProvider, chat_completions_server: ChatCompletionsServer
) -> None:
    providers = [make_openai(api_key=key) for key in ("sk-first", "sk-second")]
    with ThreadPoolExecutor(4) as pool:
        for provider in providers * 4:
            pool.submit(provider.generate, ask())
    found = sorted(entry.key for entry in chat_completions_server.journal)
    assert found == ["sk-first"] * 4 + ["sk-second"] * 4


def test_one_event_loop_after_the_other(make_openai: MakeProvider) -> None:
    provider = make_openai()
    for _ in range(3):
        assert asyncio.run(provider.agenerate(ask())).text


def test_vectors_come_in_the_order_of_the_texts(make_openai: MakeProvider) -> None:
    provider = make_openai()
    texts = ("Barangay one", "Barangay two", "Barangay three")
    found = provider.embed(EmbeddingRequest(texts=texts, model="embedder", dimension=16))
    assert found.vectors.shape == (3, 16)
    assert found.usage is not None and found.usage.is_exact
    for row, text in zip(found.vectors, texts, strict=True):
        alone = provider.embed(EmbeddingRequest(texts=(text,), model="embedder", dimension=16))
        np.testing.assert_allclose(row, alone.vectors[0], atol=1e-5)


def test_a_ping_looks_into_the_list_of_models(
    make_openai: MakeProvider, chat_completions_server: ChatCompletionsServer
) -> None:
    assert make_openai().ping() is True
    assert make_openai(model="llama3.2").ping() is True
    with pytest.raises(ModelNotFoundError, match="does not list"):
        make_openai(model="mistral").ping()
    with pytest.raises(AuthenticationError):
        make_openai(api_key=BAD_KEY).ping()
    assert {entry.path for entry in chat_completions_server.journal} == {"/v1/models"}


@pytest.mark.parametrize(
    "fields", [{"prompt": " "}, {"max_output_tokens": 0}, {"temperature": 3.0}]
)
def test_what_would_be_refused_is_not_sent(
    make_openai: MakeProvider,
    chat_completions_server: ChatCompletionsServer,
    fields: dict[str, Any],
) -> None:
    with pytest.raises(InvalidRequestError):
        make_openai().generate(ask(**fields))
    assert chat_completions_server.journal == []


@pytest.mark.parametrize(
    ("option", "value"),
    [("timeout_seconds", 0), ("deadline_seconds", "60"), ("max_output_tokens", True),
     ("temperature", 2.5), ("base_url", "localhost:11434"), ("is_local", "yes"),
     ("max_tokens_parameter", "tokens")],
)  # fmt: skip
def test_options_out_of_range_are_named(option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=option):
        OpenAICompatibleProvider(**{option: value})


def test_a_provider_without_a_model_says_so(make_openai: MakeProvider) -> None:
    with pytest.raises(ConfigurationError, match="model"):
        make_openai(model="").generate(ask())
