"""Search: the user's own view, filters, thresholds, and everything that is refused."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.db.models import QuerySet

from django_obc_ai.backends.embedders import embedders
from django_obc_ai.backends.embedders.hashing import HashingEmbedder
from django_obc_ai.exceptions import (
    ConfigurationError,
    IndexNotReadyError,
    SearchError,
    UnknownIndexError,
)
from django_obc_ai.indexes import VectorIndex, generations, get_index, register
from django_obc_ai.indexes.registry import unregister
from django_obc_ai.models import Chunk
from django_obc_ai.services import _finding
from django_obc_ai.services._query_vectors import QueryVectors
from django_obc_ai.services.indexing import IndexingService
from django_obc_ai.services.search import SimilaritySearchService
from django_obc_ai.testing import index_now, load_vectors, override_ai
from django_obc_ai.types import SearchResult
from tests.fakes import TinyEmbedder, entry
from tests.testapp.ai_indexes import PlaceIndex
from tests.testapp.models import Place

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _fresh_stores() -> Iterator[None]:
    with override_ai():
        yield


@pytest.fixture
def amina() -> Any:
    return get_user_model().objects.create(username="amina", password="hash-of-amina")


@pytest.fixture
def badal() -> Any:
    return get_user_model().objects.create(username="badal", password="hash-of-badal")


def search(query: str, *, index: str = "places", user: Any = None, **options: Any) -> Any:
    return SimilaritySearchService().search(index, query, user=user, **options)


def names(query: str, **options: Any) -> list[str]:
    return [result.object.name for result in search(query, **options)]


def places(*given: str, **values: Any) -> list[Place]:
    made = Place.objects.bulk_create([Place(name=name, **values) for name in given])
    index_now("places")
    return made


# --- what comes back -----------------------------------------------------------------------------
def test_results_are_live_objects_with_score_text_and_chunk() -> None:
    (made,) = places("Poblacion", province="Sulu")
    Place.objects.filter(pk=made.pk).update(province="Basilan")  # the index does not know yet
    (result,) = search("Poblacion Sulu")
    assert isinstance(result, SearchResult)
    assert result.object == made
    assert result.object.province == "Basilan"
    assert result.text == "Poblacion, Sulu"
    assert result.score == pytest.approx(1.0)
    assert Chunk.objects.get(pk=result.chunk_id).text == result.text


def test_results_are_best_first_and_at_most_k() -> None:
    places(*(f"Poblacion {'x' * n}" for n in range(30)))
    for k in (1, 7, 30, 500):
        found = search("Poblacion", k=k, threshold=-1, mode="vector")
        scores = [result.score for result in found]
        assert len(scores) == min(k, 30)
        assert scores == sorted(scores, reverse=True)
    assert len(search("Poblacion")) == 10


@pytest.mark.parametrize("query", ["", "   \n\t ", "?!…"])
def test_a_query_without_words_finds_nothing(query: str) -> None:
    places("Poblacion")
    assert search(query, threshold=-1) == []


def test_rows_deleted_behind_the_index_s_back_are_not_found() -> None:
    places("Poblacion one", "Poblacion two", "Poblacion three")
    Place.objects.filter(name="Poblacion two")._raw_delete("default")
    Place.objects.filter(name="Poblacion three").update(name="deleted Poblacion three")
    assert Chunk.objects.count() == 3
    assert names("Poblacion", threshold=-1) == ["Poblacion one"]
    assert names("Poblacion", threshold=-1, filters={"province": ""}) == ["Poblacion one"]


def test_several_chunks_of_an_object_are_one_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PlaceIndex, "chunk_tokens", 3)
    long = " ".join(f"Poblacion number {n:03}" for n in range(9))
    made = places(*[long] * 30, "Poblacion alone")
    assert Chunk.objects.filter(object_key=str(made[0].pk)).count() >= 9
    # Every one of the long texts' 270 pieces or more is nearer than the short text.
    results = search("number Poblacion", k=31, threshold=-1)
    assert len({result.object.pk for result in results}) == len(results) == 31
    best = max(results, key=lambda result: result.score)
    assert best is results[0]
    assert "number" in best.text


# --- who sees what -------------------------------------------------------------------------------
def test_everybody_sees_what_visible_to_says(amina: Any, badal: Any) -> None:
    Place.objects.create(name="Poblacion public")
    Place.objects.create(name="Poblacion of amina", is_hidden=True, owner=amina)
    Place.objects.create(name="Poblacion of nobody", is_hidden=True)
    index_now("places")
    for user in (None, AnonymousUser(), badal):
        assert names("Poblacion", user=user) == ["Poblacion public"]
        assert names("Poblacion of amina", user=user, threshold=-1) == ["Poblacion public"]
    assert sorted(names("Poblacion", user=amina)) == ["Poblacion of amina", "Poblacion public"]


def test_hidden_rows_take_no_place_however_many_and_near_they_are(amina: Any) -> None:
    places(*["Poblacion market"] * 1_000, is_hidden=True)
    places(*(f"Poblacion market near the river {n}" for n in range(12)))
    places(*(f"Poblacion market {n}" for n in range(5)), is_hidden=True, owner=amina)
    found = search("Poblacion market", k=10, threshold=-1)
    assert len(found) == 10
    assert not any(result.object.is_hidden for result in found)
    assert len(search("Poblacion market", k=100, threshold=-1)) == 12
    assert len(search("Poblacion market", k=100, threshold=-1, user=amina)) == 17
    assert search("Poblacion market 3", user=amina)[0].object.owner == amina


@pytest.mark.parametrize("seed", range(4))
def test_results_equal_a_search_of_the_visible_rows_alone(seed: int, amina: Any) -> None:
    chance = random.Random(seed)
    words = ["Poblacion", "Malingao", "Talitay", "market", "river", "school", "coastal"]
    for _ in range(120):
        Place.objects.create(
            name=" ".join(chance.choices(words, k=3)),
            province=chance.choice("AB"),
            is_hidden=chance.random() < 0.7,
            owner=amina if chance.random() < 0.2 else None,
        )
    index_now("places")
    serving = generations.serving_of(get_index("places"))
    assert serving is not None
    vectors = {
        chunk.object_key: np.frombuffer(chunk.vector, dtype="<f4")
        for chunk in Chunk.objects.filter(generation=serving)
    }
    state = bytes(serving.fitted_state)
    for user in (None, amina):
        for filters in (None, {"province": "A"}):
            query, k = " ".join(chance.choices(words, k=2)), chance.randint(1, 60)
            (asked,) = embedders["default"].embed_queries([query], state=state)
            rows = PlaceIndex().visible_to(Place.objects.filter(**filters or {}), user)
            wanted = sorted((float(vectors[str(row.pk)] @ asked) for row in rows), reverse=True)
            asking = {"user": user, "filters": filters, "threshold": -1}
            results = search(query, k=k, mode="vector", **asking)
            assert [r.score for r in results] == pytest.approx(wanted[:k], abs=0.00501)
            assert all(rows.filter(pk=result.object.pk).exists() for result in results)


def test_an_index_that_does_not_say_who_sees_it_is_not_searched() -> None:
    class Careless(VectorIndex):
        name = "careless"
        model = Place
        fields = ("name",)

    register(Careless)
    try:
        index_now("careless")
        with pytest.raises(ConfigurationError, match=r"does not define visible_to\(\)") as raised:
            search("Poblacion", index="careless")
    finally:
        unregister("careless")
    assert raised.value.check_id == "E009"


def test_a_queryset_with_prefetched_relations_can_be_searched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def get_queryset(_: Any) -> QuerySet[Place]:
        return Place.objects.select_related("owner").prefetch_related("tags")

    monkeypatch.setattr(PlaceIndex, "get_queryset", get_queryset)
    places("Poblacion", province="A")
    assert names("Poblacion", filters={"province": "A"}) == ["Poblacion"]
    places(*["Poblacion hidden"] * 60, is_hidden=True)
    assert names("Poblacion hidden", threshold=-1) == ["Poblacion"]


# --- thresholds ----------------------------------------------------------------------------------
def test_the_embedder_s_own_threshold_keeps_noise_out() -> None:
    places("Poblacion", "Zamboanga")
    assert names("Poblacion") == ["Poblacion"]
    assert names("Poblacion", threshold=-1) == ["Poblacion", "Zamboanga"]


def test_a_threshold_is_a_lower_bound_of_the_score() -> None:
    places("Poblacion", "Poblacion market", "Poblacion market river school")
    scores = [result.score for result in search("Poblacion", threshold=-1)]
    for bound in (scores[1] - 1e-6, scores[1] + 1e-6):
        kept = [score for score in scores if score >= bound]
        for filters in (None, {"province": ""}):
            found = search("Poblacion", threshold=bound, filters=filters)
            assert [result.score for result in found] == kept
    assert search("Poblacion market 7", threshold=1) == []


@pytest.mark.parametrize("threshold", [-1.01, 1.01, float("nan"), 75])
def test_a_threshold_that_is_no_cosine_is_refused(threshold: float) -> None:
    with pytest.raises(SearchError, match=r"cosine similarity lies in \[-1, 1\]"):
        search("Poblacion", threshold=threshold)


@pytest.mark.parametrize("k", [0, -1])
def test_k_below_one_is_refused(k: int) -> None:
    with pytest.raises(SearchError, match=f"k is {k}; ask for at least 1 result"):
        search("Poblacion", k=k)


# --- indexes that cannot answer ------------------------------------------------------------------
def test_an_unknown_index_names_the_nearest() -> None:
    with pytest.raises(UnknownIndexError, match=r"'place'\. Did you mean 'places'"):
        search("Poblacion", index="place")


def test_an_index_that_was_not_built_says_how_to() -> None:
    for _ in range(2):
        with pytest.raises(IndexNotReadyError, match=r"not been built\. Run: .* ai_index places"):
            search("Poblacion")
        generations.ensure_state(get_index("places"))


def test_an_empty_index_finds_nothing() -> None:
    index_now("places")
    assert search("Poblacion", threshold=-1) == []
    assert search("Poblacion", threshold=-1, filters={"province": "A"}) == []


def test_an_index_of_another_embedder_is_not_searched() -> None:
    places("Poblacion")
    for changed in (entry(TinyEmbedder), entry(HashingEmbedder, dimension=2_048)):
        with override_ai(EMBEDDERS=changed):
            with pytest.raises(IndexNotReadyError, match=r"another embedder .* ai_index places"):
                search("Poblacion")
            index_now("places")
            assert names("Poblacion") == ["Poblacion"]


@pytest.mark.parametrize("dimension", [3, 1_024])
@pytest.mark.django_db(transaction=True)
def test_a_store_that_changed_meanwhile_is_asked_once_more(
    dimension: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of(vectors: QueryVectors, query: str) -> Any:
        def change(replica: Any) -> Any:
            """Let something happen between reading the index and searching it."""
            if left and left.pop():
                load_vectors("places", [1], np.ones((1, dimension), dtype=np.float32))
            return embed(vectors, query)(replica)

        return change

    embed = QueryVectors.of
    monkeypatch.setattr(QueryVectors, "of", of)
    Place.objects.create(name="Poblacion")
    IndexingService().index("places")
    left = [False, True]
    assert names("Poblacion") == ["Poblacion"]
    assert left == []
    left = [True] * _finding._ATTEMPTS
    with pytest.raises(IndexNotReadyError, match="changes faster than it can be searched"):
        names("Poblacion")
