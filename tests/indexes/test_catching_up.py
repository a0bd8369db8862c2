"""A store that is far behind is filled in steps; one that is not reads what is new, at once."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from django_obc_ai.backends.vector_stores import vector_stores
from django_obc_ai.indexes import catching_up, get_index, replica
from django_obc_ai.indexes.feeds import VectorFeed
from django_obc_ai.services.indexing import IndexingService
from django_obc_ai.testing import override_ai
from tests.fakes import TinyEmbedder, entry
from tests.indexes.test_equal_to_data import found
from tests.testapp.models import Place

pytestmark = pytest.mark.django_db(transaction=True)
MOST = 3


@pytest.fixture(autouse=True)
def _letters() -> Iterator[None]:
    with override_ai(EMBEDDERS=entry(TinyEmbedder)):  # which learns nothing anew
        yield


def write(count: int) -> None:
    start = Place.objects.count()
    Place.objects.bulk_create(Place(name=f"Alpha {n}") for n in range(start, start + count))
    IndexingService().index("places")


@pytest.mark.parametrize(("newer", "is_at_once"), [(MOST, True), (MOST + 1, False)])
def test_more_than_so_many_chunks_are_not_read_at_once(newer: int, is_at_once: bool) -> None:
    write(2)
    held = replica.sync(get_index("places"))
    write(newer)
    now = catching_up.read_now(get_index("places")).state
    feed = VectorFeed(vector_stores["default"])
    arguments = (get_index("places"), feed, held.generation, now)
    assert catching_up.catch_up(*arguments, most=MOST) is is_at_once
    assert feed.store.count("places") == (2 + newer if is_at_once else 2)
    assert feed.store.state("places") == (now if is_at_once else held.state)


def test_a_search_far_behind_reads_everything_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    write(2)
    assert len(found("places", "Alpha")) == 2
    filled: list[str] = []
    original = catching_up.fill

    def noting(index: object, feed: replica.Feed, generation: object) -> bool:
        filled.append(feed.column)
        return original(index, feed, generation)  # type: ignore[arg-type]

    monkeypatch.setattr(replica, "fill", noting)
    monkeypatch.setattr(replica, "catch_up", partial(catching_up.catch_up, most=MOST))
    write(MOST)
    assert len(found("places", "Alpha")) == 2 + MOST
    assert filled == []
    write(MOST + 1)
    assert len(found("places", "Alpha")) == 2 + MOST + MOST + 1
    assert filled == ["vector", "text"]
