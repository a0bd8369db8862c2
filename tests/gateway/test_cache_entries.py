"""Entries of the response cache: their form, their size, their age, and the caches they lie in."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from django.core.cache import caches
from django.core.management import call_command
from django.db import connection
from django.test import override_settings

from django_obc_ai.conf import get_settings
from django_obc_ai.contexts import BaseContext
from django_obc_ai.gateway import cache
from django_obc_ai.models import AIOperation
from django_obc_ai.services.cache import invalidate
from django_obc_ai.services.text import TextService
from django_obc_ai.testing import Reply
from django_obc_ai.types import ProviderResponse
from tests.gateway.conftest import Scripted
from tests.servers.valkey import RedisServer

pytestmark = pytest.mark.django_db
LONG = "Births are in Cotabato, and elsewhere. 😀 \ud800" * 200


class SaidContext(BaseContext):
    """A context whose text can be changed."""

    said = "Speak plainly."

    def render(self, *, user: Any, operation_type: str, module: str) -> str:
        return self.said


def ask(prompt: str = "Q", **arguments: Any) -> Any:
    return TextService().generate_text(prompt, **arguments)


def stored_bytes() -> list[int | None]:
    rows = AIOperation.objects.order_by("recorded_at", "created_at")
    return list(rows.values_list("stored_bytes", flat=True))


def held() -> Any:
    store: Any = caches[get_settings().cache.alias or ""]
    (found,) = [each for key, each in store._cache.items() if ":answer:" in key]
    return pickle.loads(found)  # noqa: S301 - what this test has put there


# --- where they lie ------------------------------------------------------------------------------
@pytest.fixture(params=["memory", "database", "file", "redis"])
def backend(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[None]:
    place = "django.core.cache.backends"
    entries: dict[str, Any] = {
        "memory": {"BACKEND": f"{place}.locmem.LocMemCache", "LOCATION": "entries"},
        "database": {"BACKEND": f"{place}.db.DatabaseCache", "LOCATION": "obc_ai_test_cache"},
        "file": {"BACKEND": f"{place}.filebased.FileBasedCache", "LOCATION": str(tmp_path)},
    }
    if request.param == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        entries["redis"] = {"BACKEND": f"{place}.redis.RedisCache", "LOCATION": server.url}
    with override_settings(CACHES={"default": entries[request.param]}):
        if request.param == "database":
            call_command("createcachetable", verbosity=0)
        caches["default"].clear()
        yield
        caches["default"].clear()
        if request.param == "database":
            with connection.cursor() as cursor:
                cursor.execute("DROP TABLE obc_ai_test_cache")


@pytest.mark.parametrize("answer", ["short", LONG.replace("\ud800", "")], ids=["short", "long"])
def test_every_kind_of_cache_keeps_finds_drops_and_forgets(
    backend: None, scripted: Scripted, answer: str
) -> None:
    kit = scripted(answer, "B", "C", CACHE={"alias": "default"})
    first = ask(cache_tags=["places"])
    again = ask(cache_tags=["places"])
    assert (first.text, again.text, again.cached) == (answer, answer, True)
    (entry,) = set(AIOperation.objects.values_list("cache_entry", flat=True))
    assert entry is not None
    assert cache.texts_of([entry]) == {entry: answer}
    cache.forget([entry])
    assert cache.texts_of([entry]) == {}
    assert ask(cache_tags=["places"]).text == "B"
    invalidate(tags=["places"])
    assert ask(cache_tags=["places"]).text == "C"
    assert kit.provider.call_count == 3


# --- size ----------------------------------------------------------------------------------------
def test_long_answers_are_compressed_and_come_back_as_they_were(scripted: Scripted) -> None:
    scripted()
    request, info = TextService()._prepare("Q")
    stored = cache.put(request, info, ProviderResponse(text=LONG), cost_usd=Decimal(0))
    found = cache.get(request, info)
    assert found is not None and found.text == LONG
    size = len(LONG.encode(errors="surrogatepass"))
    assert stored is not None and 0 < stored.stored_bytes < size / 10
    assert isinstance(held()[1], bytes)


def test_an_answer_that_compression_does_not_shorten_is_stored_as_it_is(scripted: Scripted) -> None:
    text = "abcdefghij"
    scripted(text, CACHE={"compress_over_bytes": 5, "alias": "default"})
    ask()
    assert ask().text == text
    assert stored_bytes() == [10, None]
    caches["default"].clear()


def test_an_answer_that_is_too_large_is_delivered_and_not_stored(
    scripted: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    kit = scripted("0123456789", "B", CACHE={"max_bytes": 9, "alias": "default"})
    with caplog.at_level("INFO", "django_obc_ai"):
        assert ask().text == "0123456789"
    assert "too large" in caplog.text and "0123456789" not in caplog.text
    assert ask().text == "B"
    assert kit.provider.call_count == 2
    assert stored_bytes() == [0, 1]
    caches["default"].clear()


def test_a_row_says_whether_its_call_looked_and_what_it_left(scripted: Scripted) -> None:
    cut = Reply("cut", finish_reason="length")
    scripted("é", cut, RuntimeError(), "D", "E", "F")
    ask()
    ask()  # found
    ask("cut")
    ask("failed")
    ask("other", use_cache=False)
    ask("other", varies_by_user=True)
    ask("other", cache_ttl=0)
    assert stored_bytes() == [2, None, 0, 0, None, None, 0]


# --- age -----------------------------------------------------------------------------------------
@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Any:
    def move(seconds: float) -> None:
        now = cache.time.time()
        monkeypatch.setattr("django_obc_ai.gateway.cache.time.time", lambda: now + seconds)

    return move


def test_an_answer_past_its_time_is_served_as_stale_for_as_long_as_the_setting_says(
    scripted: Scripted, later: Any
) -> None:
    scripted(CACHE={"stale_seconds": 60, "alias": "default"})
    call = TextService()._prepare("Q", cache_ttl=100)
    cache.put(*call, ProviderResponse(text="A"), cost_usd=Decimal(0))

    def is_stale() -> bool | None:
        found = cache.get(*call)
        return None if found is None else found.is_stale

    assert is_stale() is False
    later(99)
    assert is_stale() is False
    later(2)
    assert is_stale() is True
    later(60)
    assert is_stale() is None
    caches["default"].clear()


def test_an_answer_whose_data_changed_is_never_served_as_stale(
    scripted: Scripted, later: Any
) -> None:
    scripted("A", "B", CACHE={"stale_seconds": 60, "alias": "default"})
    ask(cache_ttl=100, cache_tags=["places"])
    invalidate(tags=["places"])
    later(101)
    assert ask(cache_ttl=100, cache_tags=["places"]).text == "B"
    caches["default"].clear()


def test_a_caller_that_stores_nothing_takes_what_others_have_stored_while_it_lives(
    scripted: Scripted, later: Any
) -> None:
    scripted("A", "B")
    ask(cache_ttl=100)
    assert ask(cache_ttl=0).text == "A"
    later(101)
    assert ask(cache_ttl=0).text == "B"


# --- what is in the key --------------------------------------------------------------------------
def test_another_text_of_a_context_or_version_of_a_template_misses(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted("A", "B", "C", CONTEXT=[f"{__name__}.SaidContext"])
    assert ask(prompt_version="1").text == "A"
    monkeypatch.setattr(SaidContext, "said", "Speak slowly.")
    assert ask(prompt_version="1").text == "B"
    assert ask(prompt_version="2").text == "C"
    monkeypatch.undo()
    assert ask(prompt_version="1").text == "A"


def test_anonymous_people_share_no_personal_answer(scripted: Scripted) -> None:
    from django.contrib.auth.models import AnonymousUser

    scripted("A", "B", "C")
    texts = [
        ask(varies_by_user=True, user=user).text
        for user in (None, AnonymousUser(), AnonymousUser())
    ]
    assert texts == ["A", "B", "C"]
