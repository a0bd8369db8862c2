"""Time, threads, processes, keys and event loops of google-genai's provider."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from django_obc_ai.exceptions import ConfigurationError, ProviderTimeoutError, TransientError
from tests.backends.gemini_cases import ask
from tests.backends.ways import WAYS, run
from tests.servers.gemini import GeminiServer, RemoteGemini, closed_port, key_id, replies

# --- Time -----------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_an_answer_that_drips_ends_at_the_deadline(
    make_provider: Any, gemini_server: GeminiServer, way: str
) -> None:
    # Each read is served within its timeout; the whole would take minutes.
    gemini_server.script(replies.answer(drip_bytes=1, drip_interval_seconds=0.2))
    with pytest.raises(Exception, match="deadline_seconds") as caught:
        run(make_provider(timeout_seconds=5, deadline_seconds=0.7), way)
    assert caught.type is ProviderTimeoutError or "stream" in way
    (entry,) = gemini_server.journal
    assert entry.client_left


@pytest.mark.parametrize("way", WAYS)
def test_a_server_that_falls_silent_in_mid_answer_is_left_at_the_deadline(
    make_provider: Any, gemini_server: GeminiServer, way: str
) -> None:
    gemini_server.script(replies.cut("hang", 1))
    with pytest.raises(Exception, match="deadline_seconds"):
        run(make_provider(timeout_seconds=60, deadline_seconds=0.5), way)
    assert gemini_server.journal[0].client_left


@pytest.mark.parametrize("way", WAYS)
def test_a_server_that_does_not_answer_times_out(
    make_provider: Any, gemini_server: GeminiServer, way: str
) -> None:
    gemini_server.script(replies.cut("silent"))
    with pytest.raises(ProviderTimeoutError) as caught:
        run(make_provider(timeout_seconds=0.3), way)
    assert caught.value.is_possibly_billed


@pytest.mark.parametrize("way", WAYS)
def test_a_refused_connection_was_surely_not_billed(make_provider: Any, way: str) -> None:
    with closed_port() as url, pytest.raises(TransientError, match="Nothing was sent") as caught:
        run(make_provider(base_url=url), way)
    assert not caught.value.is_possibly_billed
    assert caught.value.retryable


# --- Processes, keys, loops -----------------------------------------------------------


def test_two_aliases_with_two_keys_keep_them_apart(
    make_provider: Any, gemini_server: GeminiServer
) -> None:
    first, second = (
        make_provider(api_key="key-of-the-first"),
        make_provider(api_key="key-of-the-second"),
    )
    with ThreadPoolExecutor(4) as pool:
        for provider in (first, second) * 4:
            pool.submit(provider.generate, ask())
    found = sorted(entry.key_id for entry in gemini_server.journal)
    assert found == sorted([key_id("key-of-the-first"), key_id("key-of-the-second")] * 4)


def test_keys_in_the_environment_are_not_taken(
    make_provider: Any, gemini_server: GeminiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GOOGLE_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.setenv(name, f"key-in-{name}")
    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "true")
    make_provider().generate(ask())
    assert gemini_server.journal[0].key_id == key_id(gemini_server.key)
    with pytest.raises(ConfigurationError, match="api_key"):
        make_provider(api_key="").generate(ask())


def test_one_client_serves_all_threads(make_provider: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    provider = make_provider()
    built = []
    original = provider._make_client
    monkeypatch.setattr(provider._clients, "_make", lambda: built.append(1) or original())
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda _: provider.generate(ask()).text, range(24)))
    assert built == [1]


def test_a_forked_child_builds_its_own_client(
    make_provider: Any, gemini_process: RemoteGemini
) -> None:
    provider = make_provider(api_key=gemini_process.key, base_url=gemini_process.url)
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


def test_a_closed_provider_builds_a_new_client(make_provider: Any) -> None:
    provider = make_provider()
    provider.generate(ask())
    provider.close()
    assert provider.generate(ask()).text


def test_a_provider_names_its_sdk_and_shows_no_key(
    make_provider: Any, gemini_server: GeminiServer
) -> None:
    provider = make_provider()
    assert gemini_server.key not in repr(provider)
    assert provider.sdk_version().startswith(f"{provider.extra} ")
