"""override_ai, index_now and load_vectors: a test's own small world."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from django.conf import settings
from django.core.cache import caches
from django.test import TestCase, override_settings

from django_obc_ai.backends.cost_stores import cost_stores
from django_obc_ai.backends.cost_stores.memory import MemoryCostStore
from django_obc_ai.backends.embedders import embedders
from django_obc_ai.backends.providers import providers
from django_obc_ai.backends.providers.offline import OfflineProvider
from django_obc_ai.backends.vector_stores import vector_stores
from django_obc_ai.backends.vector_stores.numpy import NumpyVectorStore
from django_obc_ai.conf import get_settings
from django_obc_ai.exceptions import ConfigurationError, UnknownIndexError
from django_obc_ai.models import AIOperation, Chunk
from django_obc_ai.services.text import TextService
from django_obc_ai.testing import index_now, load_vectors, override_ai
from tests.fakes import TinyEmbedder, entry
from tests.testapp.models import Place, Slugged

pytestmark = pytest.mark.django_db
PRICES = {"scripted": {"input_usd": "1", "output_usd": "1"}}
BUDGET = {"scope": "global", "period": "day", "limit_usd": "5.00"}


def ask(prompt: str = "Hello", **options: Any) -> Any:
    return TextService().generate_text(prompt, **options)


def test_without_a_script_the_offline_provider_answers() -> None:
    with override_settings(OBC_AI={"PROVIDERS": entry("no.such.Provider")}), override_ai() as ai:
        assert isinstance(providers["default"], OfflineProvider)
        assert ask().is_offline
        with pytest.raises(TypeError, match="OfflineProvider, unscripted"):
            _ = ai.provider


def test_a_script_is_played_and_requests_are_kept_after_the_block() -> None:
    with override_ai(script=["one", "two"]) as ai:
        assert [ask("a")["text"], ask("b")["text"]] == ["one", "two"]
    assert [request.prompt for request in ai.provider.requests] == ["a", "b"]


def test_stores_live_in_memory_and_start_empty() -> None:
    for _ in range(2):
        with override_ai():
            assert isinstance(cost_stores["default"], MemoryCostStore)
            assert isinstance(vector_stores["default"], NumpyVectorStore)
            assert vector_stores["default"].count("places") == 0
            load_vectors("places", [1], np.eye(1, 4, dtype=np.float32))


def test_spending_of_one_test_is_none_of_the_next() -> None:
    for _ in range(2):
        with override_ai(script=["one"], PRICES=PRICES, BUDGETS=[BUDGET]):
            assert ask()["cost"] > 0
            (totals,) = cost_stores["default"].totals(["x"]).values()
            assert totals.spent_nano == 0


def test_answers_are_cached_within_a_test_and_forgotten_after_it() -> None:
    for _ in range(2):
        with override_ai(script=["one"]) as ai:
            assert [ask()["cached"], ask()["cached"]] == [False, True]
        assert len(ai.provider.requests) == 1


def test_the_project_s_cache_and_settings_come_back() -> None:
    before, aliases = get_settings(), set(settings.CACHES)
    with override_ai(DATABASE="default", RETRY={"attempts": 1}):
        (added,) = set(settings.CACHES) - aliases
        assert get_settings().cache.alias == added
        assert get_settings().retry.attempts == 1
        caches["default"].set("of-the-project", 1)
    assert get_settings() == before
    assert set(settings.CACHES) == aliases
    assert caches["default"].get("of-the-project") == 1


def test_keys_of_the_project_stay_unless_they_are_named() -> None:
    project = {"EMBEDDERS": entry(TinyEmbedder), "CACHE": {"ttl_seconds": {"chat": 7}}}
    with override_settings(OBC_AI=project), override_ai(RETRY={"attempts": 2}):
        assert isinstance(embedders["default"], TinyEmbedder)
        assert get_settings().cache.ttl_seconds["chat"] == 7
        assert get_settings().retry.attempts == 2


def test_blocks_can_be_nested() -> None:
    with override_ai(script=["outer"]) as outer:
        with override_ai(script=["inner"]) as inner:
            assert ask()["text"] == "inner"
        assert ask()["text"] == "outer"
    assert [len(each.provider.requests) for each in (outer, inner)] == [1, 1]


def test_a_failing_test_and_broken_settings_leave_nothing_behind() -> None:
    before = get_settings()
    with pytest.raises(ZeroDivisionError), override_ai(script=["one"]):
        raise ZeroDivisionError
    with override_ai(PROVIDERS=entry("no.such.Provider")), pytest.raises(ConfigurationError):
        _ = providers["default"]
    with override_ai(RETRY=3), pytest.raises(ConfigurationError):
        get_settings()
    assert get_settings() == before


@override_ai(script=["one"])
def decorated(prompt: str) -> str:
    return str(ask(prompt)["text"])


def test_a_decorated_function_starts_anew_at_each_call() -> None:
    assert [decorated("a"), decorated("a")] == ["one", "one"]
    assert get_settings().providers["default"].path.endswith("OfflineProvider")


class DecoratedTests(TestCase):
    @override_ai(script=["one"])
    def test_a_decorated_method_sees_the_script(self) -> None:
        self.assertEqual(ask()["text"], "one")
        self.assertEqual(AIOperation.objects.get().cost_usd, Decimal(0))


def test_index_now_takes_names_or_all() -> None:
    Place.objects.create(name="Poblacion")
    Slugged.objects.create(slug="a")
    with override_ai():
        index_now("slugs")
        assert Chunk.objects.count() == 1
        index_now()
        assert Chunk.objects.count() == 2
        with pytest.raises(UnknownIndexError):
            index_now("nowhere")


@pytest.mark.parametrize("index", ["places", "benchmark"])
def test_load_vectors_fills_a_store_from_plain_lists(index: str) -> None:
    vectors = np.eye(3, 5)
    with override_ai():
        load_vectors(index, [7, 8, 9], vectors)
        (hits,) = vector_stores["default"].search(index, vectors[1:2].astype(np.float32), 2)
        assert [(hit.id, hit.score) for hit in hits] == [(8, 1.0), (7, 0.0)]
