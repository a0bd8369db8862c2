"""Hybrid search: modes, whose rows are shown, pages, thresholds, duplicates and rerankers."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import Q
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from django_obc_ai.backends.lexical_stores import lexical_stores
from django_obc_ai.backends.rerankers.overlap import OverlapReranker
from django_obc_ai.exceptions import SearchError
from django_obc_ai.indexes.registry import get_index
from django_obc_ai.indexes.replica import sync
from django_obc_ai.models import Chunk
from django_obc_ai.services._legs import VectorLeg
from django_obc_ai.services.search import SimilaritySearchService
from django_obc_ai.testing import index_now, override_ai
from tests.fakes import entry
from tests.testapp.ai_indexes import PlaceIndex
from tests.testapp.models import Place, Tag

pytestmark = pytest.mark.django_db
WORDS = ["Poblacion", "Malingao", "Talitay", "market", "river", "school", "coastal"]
MODES = ["vector", "lexical", "hybrid"]


@pytest.fixture(autouse=True)
def _fresh_stores() -> Iterator[None]:
    with override_ai():
        yield


def search(query: str, *, user: Any = None, **options: Any) -> Any:
    return SimilaritySearchService().search("places", query, user=user, **options)


def pks(query: str, **options: Any) -> list[int]:
    return [result.object.pk for result in search(query, **options)]


def make(count: int, seed: int = 0, owner: Any = None) -> None:
    chance = random.Random(seed)
    Place.objects.bulk_create(
        Place(
            name=" ".join(chance.choices(WORDS, k=chance.randint(1, 4))),
            province=chance.choice(["A", "B", "C"]),
            is_hidden=chance.random() < 0.5,
            owner=owner if chance.random() < 0.2 else None,
        )
        for _ in range(count)
    )
    index_now("places")


def test_words_find_what_the_vectors_put_below_their_bound() -> None:
    place = Place.objects.create(name="Kabuntalan")
    fillers = [" ".join(f"filler{n}" for n in range(at, at + 4)) for at in range(0, 60, 4)]
    place.tags.set(Tag.objects.create(name=each) for each in fillers)
    index_now("places")
    assert search("Kabuntalan", mode="vector") == []
    for mode in (None, "hybrid", "lexical"):
        (found,) = search("Kabuntalan", mode=mode)
        assert found.text[slice(*found.highlights[0])] == "Kabuntalan"
    (found,) = search("Kabuntalan")
    assert found.score < 0.2  # the chunk's own similarity, under which words keep it
    assert search("Kabuntalan", threshold=0.9) == []
    assert [each.score for each in search("Kabuntalan", threshold=-1)] == [found.score]


def test_the_score_by_words_says_nothing_of_rows_that_are_hidden() -> None:
    Place.objects.create(name="river market")
    index_now("places")
    (before,) = search("river coast", mode="lexical")
    for _ in range(9):
        Place.objects.create(name="coast river", is_hidden=True)
    index_now("places")
    (after,) = search("river coast", mode="lexical")
    assert before.score == after.score == 0.5


#: Rows, of 2,000, by province: filters let pass from every row to one in 2,000.
SHARES = {"a": 1, "b": 1, "c": 18, "d": 180, "e": 800, "f": 1_000}


@pytest.mark.django_db(transaction=True)
def test_a_search_goes_on_when_the_index_is_changed_between_its_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make(200, seed=5)
    Place.objects.update(is_hidden=False)
    last = Place.objects.create(name="nothing like it")
    index_now("places")
    first, calls = VectorLeg.first, []

    def first_and_edit(leg: VectorLeg, n: int) -> Any:
        found = first(leg, n)
        calls.append(n)
        if len(calls) == 1:
            assert last.pk not in {int(each.key) for each in found}
            last.name = "river market"
            last.save()
            index_now("places")
            sync(get_index("places"))
        return found

    monkeypatch.setattr(VectorLeg, "first", first_and_edit)
    found = pks("river market", k=300, threshold=-1)
    assert len(calls) > 1
    assert sorted(found) == sorted(Place.objects.values_list("pk", flat=True))


@pytest.mark.django_db(transaction=True)
def test_filtered_searches_equal_brute_force() -> None:
    chance = random.Random(3)
    provinces = [name for name, count in SHARES.items() for _ in range(count)]
    chance.shuffle(provinces)
    Place.objects.bulk_create(
        Place(name=" ".join(chance.choices(WORDS, k=3)), province=province)
        for province in provinces
    )
    index_now("places")
    for mode in MODES:
        options = {"mode": mode, "threshold": None if mode == "lexical" else -1}
        whole = [
            (each.object.pk, each.object.province)
            for each in search("river market", k=2_000, **options)
        ]
        for number in range(1, len(SHARES) + 1):
            kept = list(SHARES)[:number]
            alone = [pk for pk, province in whole if province in kept]
            for k in (1, 10, 2_000):
                filters: Any = {"province__in": kept} if k != 10 else ~Q(province__gt=kept[-1])
                found = pks("river market", k=k, filters=filters, **options)
                if mode == "hybrid":  # ranks among the filtered rows fuse to another order
                    assert set(found) <= set(alone)
                    assert len(found) == min(k, len(alone))
                else:
                    assert found == alone[:k]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("mode", MODES)
def test_nobody_is_shown_what_they_may_not_see(mode: str) -> None:
    amina = get_user_model().objects.create(username="amina", password="hash-of-amina")
    make(400, owner=amina)
    public = set(Place.objects.filter(is_hidden=False).values_list("pk", flat=True))
    own = set(Place.objects.filter(owner=amina).values_list("pk", flat=True))
    worded = {
        place.pk for place in Place.objects.all() if {"river", "market"} & set(place.name.split())
    }
    for user, seen in ((None, public), (amina, public | own)):
        found = pks("river market", user=user, mode=mode, k=1_000)
        assert set(found) <= seen
        assert len(found) == len(set(found))
        if mode != "vector":
            assert set(found) >= worded & seen


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("mode", MODES)
def test_pages_follow_each_other_without_gap_or_repetition(mode: str) -> None:
    make(600)
    options: dict[str, Any] = {"mode": mode}
    whole = pks("river market school", k=1_000, **options)
    assert len(whole) > 200  # further than ranks are fused

    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.integers(1, 150), min_size=1, max_size=5))
    def check(sizes: list[int]) -> None:
        at, pages = 0, []
        for size in sizes:
            pages += pks("river market school", k=size, offset=at, **options)
            at += size
        assert pages == whole[:at]

    check()
    assert pks("river", k=5, offset=10_000, **options) == []


@pytest.mark.django_db(transaction=True)
def test_pages_continue_with_duplicates_left_out_and_a_threshold() -> None:
    make(300)
    for options in ({"deduplicate": True}, {"threshold": 0.4}):
        whole = pks("river market school", k=1_000, **options)
        pages: list[int] = []
        for at in range(0, 210, 21):
            pages += pks("river market school", k=21, offset=at, **options)
        assert pages == whole
        assert whole


def test_equal_texts_come_once_if_asked_for() -> None:
    for _ in range(60):
        Place.objects.create(name="river market")
    Place.objects.create(name="river coast")
    index_now("places")
    assert len(search("river", k=100)) == 61
    texts = [each.text for each in search("river", k=5, deduplicate=True)]
    assert sorted(texts) == ["river coast", "river market"]


@pytest.mark.django_db(transaction=True)
def test_an_explicit_threshold_bounds_every_result() -> None:
    make(300)
    for least in (-1, 0.3, 0.6, 1):
        hybrid = search("river market", threshold=least, k=1_000)
        assert all(each.score >= least for each in hybrid)
        nearest = pks("river market", threshold=least, k=1_000, mode="vector")
        assert {each.object.pk for each in hybrid} == set(nearest)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mode": "words"}, "mode is 'words'"),
        ({"offset": -1}, "offset is -1"),
        ({"mode": "lexical", "threshold": 0.5}, "Leave it out"),
    ],
)
def test_what_is_out_of_range_is_refused(options: dict[str, Any], said: str) -> None:
    make(3)
    with pytest.raises(SearchError, match=said):
        search("river", **options)


def test_an_index_says_how_it_is_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    Place.objects.create(name="Poblacions")
    index_now("places")
    assert search("Poblac") != []  # letters in common are the vectors'
    monkeypatch.setattr(PlaceIndex, "search_mode", "lexical")
    assert search("Poblac") == []
    assert search("poblacion")[0].score == 1.0
    assert SimilaritySearchService().search_all("poblacion", user=None, threshold=0.5) != []


def test_the_lexical_store_equals_the_table_after_every_kind_of_change() -> None:
    make(50)
    search("river")
    with pytest.raises(RuntimeError), transaction.atomic():
        Place.objects.create(name="Kabuntalan")
        index_now("places")
        assert pks("Kabuntalan", mode="lexical") != []
        raise RuntimeError
    assert pks("Kabuntalan", mode="lexical") == []
    for place in Place.objects.all()[:20]:
        place.delete()
    index_now("places")
    search("river")
    for word in WORDS:
        rows = Place.objects.filter(name__contains=word, is_hidden=False)
        found = pks(word, mode="lexical", k=100)
        assert sorted(found) == sorted(rows.values_list("pk", flat=True))


@pytest.mark.django_db(transaction=True)
def test_the_shared_lexical_store_is_fed_with_changes_alone() -> None:
    make(30)
    search("river")
    store = lexical_stores["default"]
    assert store.count("places") == Chunk.objects.count()
    Place.objects.create(name="Kabuntalan")
    Place.objects.filter(name__contains="market").first().delete()
    index_now("places")
    assert len(pks("Kabuntalan", mode="lexical")) == 1
    assert store.count("places") == Chunk.objects.count()


class Backwards(OverlapReranker):
    """The worst first, among the ten that it is given."""

    def __init__(self) -> None:
        super().__init__(candidates=10)

    def rerank(self, query: str, texts: Any) -> Any:
        assert query == "river market"
        return np.arange(len(texts), dtype=np.float32)


class Fails(OverlapReranker):
    def rerank(self, query: str, texts: Any) -> Any:
        raise RuntimeError(f"not to be logged: {query} {texts}")


class SaysNothing(OverlapReranker):
    def rerank(self, query: str, texts: Any) -> Any:
        return np.full(len(texts), np.nan, dtype=np.float32)


def test_a_reranker_puts_the_best_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    make(200)
    plain = pks("river market", k=30)
    with override_ai(RERANKERS=entry(Backwards)):
        index_now("places")
        monkeypatch.setattr(PlaceIndex, "reranker", "default")
        wanted = [*plain[9::-1], *plain[10:]]
        assert pks("river market", k=30) == wanted
        pages = [pks("river market", k=4, offset=at) for at in range(0, 28, 4)]
        assert [pk for page in pages for pk in page] == wanted[:28]


@pytest.mark.parametrize("reranker", [Fails, SaysNothing])
def test_a_reranker_that_fails_takes_no_result_away(
    reranker: type, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    make(60)
    plain = pks("river market")
    with override_ai(RERANKERS=entry(reranker)):
        index_now("places")
        monkeypatch.setattr(PlaceIndex, "reranker", "default")
        with caplog.at_level(logging.ERROR):
            assert pks("river market") == plain
    assert "were not put in order" in caplog.text
    assert "river market" not in caplog.messages[0]
