"""What the provider of google-generativeai has to work around."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from django_obc_ai.backends.providers._gemini_wire import Call
from django_obc_ai.backends.providers.google_generativeai import GoogleGenerativeAIProvider
from django_obc_ai.exceptions import AuthenticationError, RateLimitError, TransientError
from tests.backends.conftest import MakeProvider
from tests.backends.gemini_cases import ask
from tests.extras import requires
from tests.servers.gemini import GeminiServer, key_id, replies

pytestmark = requires("google.generativeai")


@pytest.fixture
def provider(gemini_server: GeminiServer, make_generativeai: MakeProvider) -> Any:
    return make_generativeai()


def test_a_refused_key_is_sent_once(provider: Any, gemini_server: GeminiServer) -> None:
    gemini_server.script(replies.error(401), is_repeated=True)
    with pytest.raises(AuthenticationError):
        provider.generate(ask())
    assert len(gemini_server.journal) == 1


@pytest.mark.parametrize(
    ("reply", "kind"),
    [(replies.rate_limited("7s"), RateLimitError), (replies.error(503), TransientError)],
)
@pytest.mark.parametrize("shape", ["array", "object"])
def test_errors_of_a_stream_keep_their_kind(
    provider: Any, gemini_server: GeminiServer, reply: Any, kind: type[Exception], shape: Any
) -> None:
    gemini_server.script(replace(reply, error_shape=shape))
    with pytest.raises(kind) as caught:
        list(provider.stream(ask()))
    assert caught.type is kind


def test_the_global_configuration_is_neither_read_nor_written(
    provider: Any, gemini_server: GeminiServer
) -> None:
    import google.generativeai as genai
    from google.generativeai.client import _client_manager

    genai.configure(api_key="key-of-the-project", transport="rest")
    before = dict(_client_manager.client_config)
    provider.generate(ask())
    assert gemini_server.journal[0].key_id == key_id(gemini_server.key)
    assert _client_manager.client_config == before
    assert _client_manager.clients == {}


def test_importing_the_sdk_warns_of_nothing() -> None:
    script = (
        "import warnings; warnings.simplefilter('error')\n"
        "from django_obc_ai.backends.providers.google_generativeai import"
        " GoogleGenerativeAIProvider as P\n"
        "P(api_key='key', model='gemini-2.5-flash')._clients.get()\n"
        "import sys; assert 'google.generativeai' in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_class_says_what_to_use_in_its_place() -> None:
    assert "GoogleGenAIProvider" in GoogleGenerativeAIProvider.deprecation


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_pieces_are_read_from_a_stream_however_it_is_cut(size: int) -> None:
    text = '[{"a": "x],{\\"[", "n": [1, 2]}\n,\r\n{"b": {"c": "é"}} , {"d": 1}]'
    call = Call(5)
    for start in range(0, len(text), size):
        call.feed(text[start : start + size])
    assert [call.take_piece() for _ in range(3)] == [
        {"a": 'x],{"[', "n": [1, 2]},
        {"b": {"c": "é"}},
        {"d": 1},
    ]


def test_letters_of_several_bytes_survive_any_cut(
    provider: Any, gemini_server: GeminiServer
) -> None:
    text = "Isláng Pü · مرحبا · 🌾"
    gemini_server.script(replies.answer(text, chunks=6, drip_bytes=1))
    assert "".join(chunk.text for chunk in provider.stream(ask())) == text
