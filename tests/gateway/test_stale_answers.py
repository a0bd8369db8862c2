"""Answers past their time are served while one call, in the background, makes them anew."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from django.core.cache import caches
from django.core.cache.backends.locmem import LocMemCache

from django_obc_ai.exceptions import InvalidRequestError
from django_obc_ai.models import AIOperation
from django_obc_ai.services.embeddings import EmbeddingService
from django_obc_ai.services.text import TextService
from django_obc_ai.testing import Reply, override_ai
from django_obc_ai.types import EmbeddingRequest, EmbeddingResponse, GenerationRequest, Usage
from tests.fakes import WatchedProvider, entry
from tests.gateway.conftest import PRICES, run_async

pytestmark = pytest.mark.django_db(transaction=True)
STALE = {"stale_seconds": 100}
TTL = 50
Later = Callable[[float], None]


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Later:
    """Let time pass for the cache, for Django's as well."""
    now, passed = time.time, [0.0]
    monkeypatch.setattr("time.time", lambda: now() + passed[0])

    def move(seconds: float) -> None:
        passed[0] += seconds

    return move


@pytest.fixture
def script() -> Iterator[Callable[..., override_ai]]:
    entered: list[override_ai] = []

    def enter(*items: Any, **settings: Any) -> override_ai:
        caches["default"].clear()
        settings = {"PRICES": PRICES, "CACHE": {"alias": "default", **STALE}, **settings}
        entered.append(override_ai(list(items), **settings))
        return entered[-1].enable()

    yield enter
    refreshed()
    for each in reversed(entered):
        each.disable()
    caches["default"].clear()


def refreshed() -> None:
    """Wait until nothing is made anew any more."""
    for thread in threading.enumerate():
        if thread.name == "obc-ai-refresh":
            thread.join(30)
            assert not thread.is_alive()


def ask(**arguments: Any) -> Any:
    return TextService().generate_text("Q", cache_ttl=TTL, **arguments)


def rows() -> list[tuple[bool, int]]:
    found = AIOperation.objects.order_by("recorded_at", "created_at")
    return list(found.values_list("cached", "attempts"))


@pytest.mark.parametrize("way", ["whole", "streamed", "awaited"])
def test_a_stale_answer_is_served_and_made_anew_once(script: Any, later: Later, way: str) -> None:
    kit = script("old", "new")
    service = TextService()

    def again() -> str:
        if way == "whole":
            return str(ask().text)
        if way == "streamed":
            return "".join(service.stream_text("Q", cache_ttl=TTL))
        return run_async(service.agenerate_text("Q", cache_ttl=TTL)).text

    assert ask().text == "old"
    later(TTL + 1)
    assert again() == "old"
    refreshed()
    assert kit.provider.call_count == 2
    fresh = ask()
    assert (fresh.text, fresh.cached) == ("new", True)
    refreshed()
    assert kit.provider.call_count == 2
    assert sorted(rows()) == [(False, 1), (False, 1), (True, 0), (True, 0)]


def test_nobody_waits_for_what_is_made_anew(script: Any, later: Later) -> None:
    go = threading.Event()

    def slow(_: GenerationRequest) -> Reply:
        assert go.wait(30)
        return Reply("new")

    kit = script("old", slow)
    ask()
    later(TTL + 1)
    assert {ask().text for _ in range(5)} == {"old"}  # while one call is under way
    go.set()
    refreshed()
    assert (ask().text, kit.provider.call_count) == ("new", 2)


def test_a_refresh_that_fails_leaves_the_old_answer_and_is_tried_with_the_next_call(
    script: Any, later: Later
) -> None:
    kit = script("old", InvalidRequestError("No."), "new")
    ask()
    later(TTL + 1)
    assert ask().text == "old"
    refreshed()
    assert ask().text == "old"
    refreshed()
    assert (ask().text, kit.provider.call_count) == ("new", 3)
    assert AIOperation.objects.filter(success=False).count() == 1


def test_past_both_times_a_call_waits_for_its_own_answer(script: Any, later: Later) -> None:
    kit = script("old", "new")
    ask()
    later(TTL + 101)
    assert (ask().text, kit.provider.call_count) == ("new", 2)


def test_without_the_setting_nothing_is_served_past_its_time(script: Any, later: Later) -> None:
    script("old", "new", CACHE={"alias": "default"})
    ask()
    later(TTL + 1)
    assert ask().text == "new"


def test_a_fallbacks_stale_answer_is_made_anew_by_who_wrote_it(script: Any, later: Later) -> None:
    """The refresh asks the provider whose entry was served, and spends nothing on the other."""
    from django_obc_ai.backends.providers import providers
    from django_obc_ai.exceptions import TransientError

    down = TransientError("Down.", is_possibly_billed=False)
    scripted = "django_obc_ai.testing.provider.ScriptedProvider"
    families = {
        alias: {"BACKEND": scripted, "OPTIONS": {"script": items, "repeat_last": True}}
        for alias, items in {"default": [down], "second": ["old", "new"]}.items()
    }
    script(PROVIDERS=families, FALLBACKS={"default": ["second"]}, RETRY={"attempts": 2})
    assert ask().text == "old"
    later(TTL + 1)
    assert ask().text == "old"
    refreshed()
    assert ask().text == "new"
    refreshed()
    second: Any = providers["second"]
    assert second.call_count == 2


class CountingProvider(WatchedProvider):
    """Embeds every text as the number of its call."""

    calls = 0

    def embed(self, request: EmbeddingRequest) -> EmbeddingResponse:
        type(self).calls += 1
        vectors = np.zeros((len(request.texts), 4), dtype=np.float32)
        vectors[:, type(self).calls - 1] = 1
        return EmbeddingResponse(vectors=vectors, usage=Usage(input_tokens=1), model="words")


def test_the_vector_of_a_query_is_served_stale_and_made_anew(
    script: Any, later: Later, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CountingProvider, "calls", 0)
    embedder = "django_obc_ai.backends.embedders.gemini.GeminiEmbedder"
    script(
        PROVIDERS=entry(CountingProvider),
        EMBEDDERS=entry(embedder, model="words", dimension=4),
        PRICES={"words": {"input_usd": "1", "output_usd": "0"}},
        CACHE={"alias": "default", "ttl_seconds": {"static": TTL}, **STALE},
    )

    def embed() -> int:
        (vector,) = EmbeddingService().embed_queries(["where is rice"])
        return int(vector.argmax())

    assert embed() == 0
    later(TTL + 1)
    assert embed() == 0
    refreshed()
    assert CountingProvider.calls == 2
    assert embed() == 1
    refreshed()
    assert CountingProvider.calls == 2


@pytest.mark.parametrize("way", ["awaited", "streamed"])
def test_no_event_loop_waits_for_the_cache(
    script: Any, later: Later, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    script("old", "new")
    ask()
    later(TTL + 1)
    in_loops: list[str] = []

    def watched(name: str) -> None:
        original = getattr(LocMemCache, name)

        def method(self: Any, *arguments: Any, **given: Any) -> Any:
            with suppress(RuntimeError):  # there is none in this thread
                asyncio.get_running_loop()
                in_loops.append(name)
            return original(self, *arguments, **given)

        monkeypatch.setattr(LocMemCache, name, method)

    for name in ("add", "get", "set", "delete"):
        watched(name)

    async def stream() -> str:
        pieces = TextService().astream_text("Q", cache_ttl=TTL)
        return "".join([piece async for piece in pieces])

    if way == "awaited":
        assert run_async(TextService().agenerate_text("Q", cache_ttl=TTL)).text == "old"
    else:
        assert run_async(stream()) == "old"
    refreshed()
    assert (in_loops, ask().text) == ([], "new")
