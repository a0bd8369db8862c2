"""Many searches at once: the same as one after the other, and asynchronous twins."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import get_user_model
from numpy.typing import NDArray

from django_obc_ai.exceptions import (
    IndexNotReadyError,
    InvalidFilterError,
    SearchError,
    UnknownIndexError,
)
from django_obc_ai.models import AIOperation
from django_obc_ai.services import _legs, _query_vectors
from django_obc_ai.services.indexing import IndexingService
from django_obc_ai.services.search import SimilaritySearchService
from django_obc_ai.testing import index_now, override_ai
from django_obc_ai.types import SearchResult
from tests.extras import requires
from tests.fakes import TinyEmbedder, entry
from tests.gateway.test_embed import GENAI, settings_of
from tests.servers.gemini import GeminiServer
from tests.testapp.models import Place

pytestmark = pytest.mark.django_db

WORDS = ("river", "market", "mosque", "school", "hill", "harbour", "clinic", "well", "bridge")


@pytest.fixture(autouse=True)
def _fresh_stores() -> Iterator[None]:
    with override_ai():
        yield


def told(results: list[SearchResult]) -> list[tuple[Any, ...]]:
    return [(each.object.pk, each.score, each.text, each.chunk_id, each.index) for each in results]


def fill(chance: random.Random, rows: int, owner: Any) -> None:
    Place.objects.bulk_create(
        Place(
            name=" ".join(chance.sample(WORDS, chance.randint(1, 3))),
            province=chance.choice(("Sulu", "Basilan", "")),
            is_hidden=chance.random() < 0.8,
            owner=owner if chance.random() < 0.1 else None,
        )
        for _ in range(rows)
    )
    index_now("places")


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("is_learning", [False, True])
def test_it_equals_a_loop_of_searches(seed: int, is_learning: bool) -> None:
    chance = random.Random(seed)
    options = {} if is_learning else {"EMBEDDERS": entry(TinyEmbedder)}
    with override_ai(**options):
        owner = get_user_model().objects.create(username="amina", password="x")
        fill(chance, (3, 60, 400)[seed], owner)
        service = SimilaritySearchService()
        for _ in range(3):
            queries = [" ".join(chance.choices(WORDS, k=2)) for _ in range(chance.randint(1, 8))]
            queries += chance.sample(["", "zzz nothing qqq", queries[0]], chance.randint(0, 3))
            arguments: dict[str, Any] = {
                "user": chance.choice((None, owner)),
                "k": chance.choice((1, 3, 10, 80)),
                "threshold": chance.choice((None, 0.2, -1.0)),
                "filters": chance.choice((None, {"province": "Sulu"})),
            }
            many = service.search_many("places", queries, **arguments)
            one_by_one = [service.search("places", query, **arguments) for query in queries]
            assert [told(each) for each in many] == [told(each) for each in one_by_one]


def test_objects_of_many_chunks_are_found_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_legs, "MINIMUM_FETCH", 2)
    monkeypatch.setattr(_legs, "MAXIMUM_FETCH", 3)
    Place.objects.bulk_create(
        Place(name=f"{'river ' * 700} {n}"[:200], is_hidden=bool(n % 3)) for n in range(30)
    )
    index_now("places")
    service = SimilaritySearchService()
    arguments: dict[str, Any] = {"user": None, "k": 6, "threshold": -1.0}
    many = service.search_many("places", ["river", "river 3"], **arguments)
    assert [told(each) for each in many] == [
        told(service.search("places", query, **arguments)) for query in ("river", "river 3")
    ]


def test_queries_are_embedded_at_once_and_equal_ones_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    embed = TinyEmbedder.embed_queries

    def watched(self: TinyEmbedder, texts: Any, **options: Any) -> NDArray[np.float32]:
        asked.append(list(texts))
        return embed(self, texts, **options)

    monkeypatch.setattr(TinyEmbedder, "embed_queries", watched)
    with override_ai(EMBEDDERS=entry(TinyEmbedder)):
        fill(random.Random(1), 5, None)
        SimilaritySearchService().search_many("places", ["river", "well", "river"], user=None)
        assert asked == [["river", "well"]]


def test_what_was_asked_a_moment_ago_is_not_embedded_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    embed = TinyEmbedder.embed_queries

    def watched(self: TinyEmbedder, texts: Any, **options: Any) -> NDArray[np.float32]:
        asked.extend(texts)
        return embed(self, texts, **options)

    monkeypatch.setattr(TinyEmbedder, "embed_queries", watched)
    monkeypatch.setattr(_query_vectors, "_REMEMBERED", 2)
    search = SimilaritySearchService()
    with override_ai(EMBEDDERS=entry(TinyEmbedder)):
        fill(random.Random(1), 5, None)
        first = told(search.search("places", "river", user=None, k=2, threshold=-1.0))
        search.search("places", "river", user=None, k=2, offset=2)
        search.search_many("places", ["river", "well"], user=None)
        assert asked == ["river", "well"]
        search.search("places", "mosque", user=None)
        search.search("places", "river", user=None)  # forgotten, for "mosque" came third
        assert asked == ["river", "well", "mosque", "river"]
        assert told(search.search("places", "river", user=None, k=2, threshold=-1.0)) == first
        IndexingService().index("places", rebuild=True)  # which could have learned otherwise
        search.search("places", "river", user=None)
    assert asked == ["river", "well", "mosque", "river", "river"]


@requires("google.genai")
@pytest.mark.django_db(transaction=True)
def test_a_paid_embedder_is_asked_once(gemini_server: GeminiServer) -> None:
    with override_ai(**settings_of(GENAI, gemini_server)):
        fill(random.Random(1), 5, None)
        before = AIOperation.objects.count()
        found = SimilaritySearchService().search_many("places", list(WORDS), user=None)
        assert (len(found), AIOperation.objects.count() - before) == (len(WORDS), 1)


def test_what_is_wrong_is_refused_as_by_search() -> None:
    service = SimilaritySearchService()
    with pytest.raises(UnknownIndexError):
        service.search_many("nowhere", ["x"], user=None)
    with pytest.raises(IndexNotReadyError):
        service.search_many("places", ["x"], user=None)
    with pytest.raises(SearchError):
        service.search_many("places", ["x"], user=None, k=0)
    with pytest.raises(InvalidFilterError):
        service.search_many("places", ["x"], user=None, filters={"name": "x"})
    assert service.search_many("places", [], user=None) == []
    index_now("places")
    with (
        override_ai(EMBEDDERS=entry(TinyEmbedder)),
        pytest.raises(IndexNotReadyError),
    ):
        service.search_many("places", ["x"], user=None)


@pytest.mark.django_db(transaction=True)
def test_the_asynchronous_twins_return_the_same() -> None:
    fill(random.Random(2), 80, None)
    service = SimilaritySearchService()
    pk = Place.objects.filter(is_hidden=False).values_list("pk", flat=True)[0]

    def both(name: str, *arguments: Any, **options: Any) -> None:
        twin = async_to_sync(getattr(service, f"a{name}"))
        mine = twin(*arguments, user=None, **options)
        other = getattr(service, name)(*arguments, user=None, **options)
        if name == "search_many":
            mine, other = mine[1], other[1]
        assert mine and told(mine) == told(other)

    both("search", "places", "river well", k=4, filters={"province": "Sulu"}, threshold=0.0)
    both("search_many", "places", ["river", "hill"], k=4)
    both("search_all", "river", k=4)
    both("find_similar", "places", pk, threshold=-1.0)
    with pytest.raises(SearchError):
        async_to_sync(service.asearch)("places", "river", user=None, k=0)


@pytest.mark.django_db(transaction=True)
def test_the_event_loop_goes_on_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    loops_turn, found = threading.Event(), []

    def waiting(self: SimilaritySearchService, *_: Any, **__: Any) -> list[SearchResult]:
        found.append(loops_turn.wait(10))  # only the loop sets it
        return []

    monkeypatch.setattr(SimilaritySearchService, "search", waiting)

    async def work() -> None:
        task = asyncio.ensure_future(SimilaritySearchService().asearch("places", "x", user=None))
        await asyncio.sleep(0)
        loops_turn.set()
        await task

    asyncio.run(work())
    assert found == [True]
