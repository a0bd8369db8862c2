"""Fixtures of the tests of backends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from django_obc_ai.backends.providers.google_genai import GoogleGenAIProvider
from django_obc_ai.backends.providers.google_generativeai import GoogleGenerativeAIProvider
from django_obc_ai.backends.providers.openai_compatible import OpenAICompatibleProvider
from tests.servers.chat_completions import ChatCompletionsServer
from tests.servers.gemini import GeminiServer

MakeProvider = Callable[..., Any]


def _maker(
    provider_class: type[Any],
    server: GeminiServer | ChatCompletionsServer,
    *,
    model: str = "gemini-2.5-flash",
) -> Iterator[MakeProvider]:
    if not provider_class.is_installed():
        pytest.skip(f"{provider_class.extra} is not installed")
    made = []

    def build(**options: Any) -> Any:
        defaults = {"api_key": server.key, "model": model, "base_url": server.url}
        made.append(provider_class(**{**defaults, **options}))
        return made[-1]

    yield build
    for each in made:
        each.close()


@pytest.fixture(
    params=[GoogleGenAIProvider, GoogleGenerativeAIProvider], ids=lambda each: str(each.extra)
)
def make_provider(
    request: pytest.FixtureRequest, gemini_server: GeminiServer
) -> Iterator[MakeProvider]:
    """Build providers of either SDK that talk to the loopback server."""
    yield from _maker(request.param, gemini_server)


@pytest.fixture
def make_genai(gemini_server: GeminiServer) -> Iterator[MakeProvider]:
    """Build providers of google-genai that talk to the loopback server."""
    yield from _maker(GoogleGenAIProvider, gemini_server)


@pytest.fixture
def make_generativeai(gemini_server: GeminiServer) -> Iterator[MakeProvider]:
    """Build providers of google-generativeai that talk to the loopback server."""
    yield from _maker(GoogleGenerativeAIProvider, gemini_server)


@pytest.fixture
def make_openai(chat_completions_server: ChatCompletionsServer) -> Iterator[MakeProvider]:
    """Build OpenAI-compatible providers that talk to the loopback server."""
    yield from _maker(OpenAICompatibleProvider, chat_completions_server, model="small")
