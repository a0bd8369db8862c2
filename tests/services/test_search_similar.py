"""Searching all indexes at once, and finding what is like an object."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db.models import F

from django_obc_ai.backends.embedders.hashing import HashingEmbedder
from django_obc_ai.exceptions import IndexNotReadyError, SearchError, UnknownIndexError
from django_obc_ai.logs.event import forget_limits
from django_obc_ai.models import Chunk, IndexState
from django_obc_ai.services.search import SimilaritySearchService
from django_obc_ai.testing import index_now, override_ai
from tests.fakes import TinyEmbedder, entry
from tests.testapp.ai_indexes import PlaceIndex
from tests.testapp.models import CompositeThing, Place, Slugged, UUIDThing

pytestmark = pytest.mark.django_db
INDEXES = ("places", "uuids", "slugs", "composites")


@pytest.fixture(autouse=True)
def _fresh_stores() -> Iterator[None]:
    with override_ai():
        yield


@pytest.fixture
def amina() -> Any:
    return get_user_model().objects.create(username="amina")


def search_all(query: str, *, user: Any = None, **options: Any) -> Any:
    return SimilaritySearchService().search_all(query, user=user, **options)


def similar(pk: Any, *, index: str = "places", user: Any = None, **options: Any) -> list[str]:
    found = SimilaritySearchService().find_similar(index, pk, user=user, **options)
    return [str(each.object) for each in found]


def places(*names: str, **values: Any) -> list[Place]:
    made = [Place.objects.create(name=name, **values) for name in names]
    index_now("places")
    return made


# --- all indexes ---------------------------------------------------------------------------------
def test_every_index_gives_its_best_and_each_result_names_its_index() -> None:
    for number in range(5):
        Place.objects.create(name=f"Poblacion market {'of the town ' * number}")
        Slugged.objects.create(slug=f"market-{number}", title="market" + " stall" * number)
    UUIDThing.objects.create(title="The fish market")
    index_now(*INDEXES)
    results = search_all("market", k=4, threshold=0.1)
    assert sorted(each.index for each in results[:3]) == ["places", "slugs", "uuids"]
    assert [each.index for each in results if isinstance(each.object, UUIDThing)] == ["uuids"]
    # A corpus of its own makes scores of its own: the best of each come first, whatever they are.
    for each in results[:3]:
        best = SimilaritySearchService().search(each.index, "market", user=None, k=1, threshold=0.1)
        assert best[0].object == each.object
    assert len(search_all("market", k=100, threshold=0.1)) == 11


def test_scores_of_one_embedder_that_learns_nothing_are_merged_by_score() -> None:
    with override_ai(EMBEDDERS=entry(TinyEmbedder)):
        for name in ("aaab", "aaac", "aabb"):
            Place.objects.create(name=name)
        UUIDThing.objects.create(title="aaaa")
        UUIDThing.objects.create(title="bbbb")
        index_now(*INDEXES)
        results = search_all("aaaa", k=4, threshold=-1)
    assert [each.score for each in results] == sorted(each.score for each in results)[::-1]
    assert [each.index for each in results] == ["uuids", "places", "places", "places"]


def test_hidden_rows_of_any_index_stay_hidden(amina: Any) -> None:
    Place.objects.create(name="market of amina", is_hidden=True, owner=amina)
    UUIDThing.objects.create(title="market")
    index_now(*INDEXES)
    assert [each.index for each in search_all("market")] == ["uuids"]
    assert {each.index for each in search_all("market", user=amina)} == {"places", "uuids"}


def test_an_index_that_is_not_built_is_left_out_and_said_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(IndexNotReadyError, match="ai_index"):
        search_all("market")
    places("market")
    caplog.clear()
    forget_limits()
    assert [each.index for each in search_all("market")] == ["places"]
    assert "'uuids' has not been built" in caplog.text


@pytest.mark.parametrize("options", [{"k": 0}, {"threshold": 1.5}])
def test_ranges_are_checked(options: dict[str, Any]) -> None:
    (made, _) = places("market", "marketplace")
    with pytest.raises(SearchError):
        search_all("market", **options)
    with pytest.raises(SearchError):
        similar(made.pk, **options)


# --- like an object ------------------------------------------------------------------------------
def test_the_likest_come_first_without_the_object_itself() -> None:
    market, *_ = places("fish market", "fish market hall", "fish port", "mountain school")
    assert similar(market.pk) == ["fish market hall", "fish port"]
    assert similar(market.pk, k=1) == ["fish market hall"]
    assert similar(str(market.pk), k=1) == ["fish market hall"]
    assert len(similar(market.pk, threshold=-1)) == 3


def test_nothing_is_embedded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    market, *_ = places("fish market", "fish market hall")

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("embedded")

    monkeypatch.setattr(HashingEmbedder, "embed_documents", refuse)
    monkeypatch.setattr(HashingEmbedder, "embed_queries", refuse)
    assert similar(market.pk) == ["fish market hall"]


def test_primary_keys_of_every_kind() -> None:
    uuids = [UUIDThing.objects.create(title=title) for title in ("fish market", "fish markets")]
    slugs = [Slugged.objects.create(slug=slug) for slug in ("fish-market", "fish-market-hall")]
    pairs = [
        CompositeThing.objects.create(region="IX", number=n, title="fish market") for n in (1, 2)
    ]
    index_now(*INDEXES)
    for index, (first, second) in (("uuids", uuids), ("slugs", slugs), ("composites", pairs)):
        assert similar(first.pk, index=index) == [str(second)]


def test_an_object_that_is_hidden_is_treated_as_one_that_is_absent(amina: Any) -> None:
    places("fish market", "fish market hall")
    (hidden,) = places("fish market of amina", is_hidden=True, owner=amina)
    for threshold in (None, -1, 0.5):
        assert similar(hidden.pk, threshold=threshold) == similar(99_999, threshold=threshold) == []
    assert similar(hidden.pk, user=amina) == ["fish market", "fish market hall"]


@pytest.mark.parametrize("pk", [None, "", "no key", object(), uuid.uuid4(), [1], -1, 10**30])
def test_what_is_no_key_is_like_an_absent_object(pk: Any) -> None:
    places("fish market", "fish market hall")
    assert similar(pk) == []


def test_hidden_rows_take_no_place_among_the_likest(amina: Any) -> None:
    shuffled = [f"fish market {n}" for n in range(150)]
    random.Random(4).shuffle(shuffled)
    Place.objects.bulk_create([Place(name=name, is_hidden=True, owner=amina) for name in shuffled])
    market, *_ = places("fish market", "fish port", "fish pond")
    assert sorted(similar(market.pk, k=2, threshold=-1)) == ["fish pond", "fish port"]


def test_an_object_of_many_chunks_is_as_near_as_its_nearest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(PlaceIndex, "chunk_tokens", 4)
    long, *_ = places("fish market by the sea and a school in the hills", "school hills", "sea")
    assert Chunk.objects.filter(object_key=str(long.pk)).count() > 1
    assert sorted(similar(long.pk, threshold=0.1)) == ["school hills", "sea"]


def test_an_object_whose_row_is_not_indexed_yet_is_like_nothing() -> None:
    places("fish market")
    (unindexed,) = Place.objects.bulk_create([Place(name="fish market")])
    assert similar(unindexed.pk) == []


def test_an_unknown_or_outdated_index_is_an_error() -> None:
    market, *_ = places("fish market")
    with pytest.raises(UnknownIndexError):
        similar(market.pk, index="place")
    with override_ai(EMBEDDERS=entry(TinyEmbedder)), pytest.raises(IndexNotReadyError):
        similar(market.pk)
    IndexState.objects.filter(pk="places").update(version=F("version"), serving=None)
    with pytest.raises(IndexNotReadyError):
        similar(market.pk)
