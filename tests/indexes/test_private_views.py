"""A transaction searches what it has written, and reads it once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import router, transaction

from django_obc_ai.indexes import replica
from django_obc_ai.services.indexing import IndexingService
from django_obc_ai.testing import override_ai
from tests.fakes import TinyEmbedder, entry
from tests.indexes.test_equal_to_data import found
from tests.testapp.models import Place

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _fresh_stores() -> Iterator[None]:
    with override_ai(EMBEDDERS=entry(TinyEmbedder)):  # which learns nothing anew
        yield


@pytest.fixture
def filled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was read as a whole, by its column."""
    noted: list[str] = []
    original = replica.fill

    def noting(index: object, feed: replica.Feed, generation: object) -> bool:
        noted.append(feed.column)
        return original(index, feed, generation)  # type: ignore[arg-type]

    monkeypatch.setattr(replica, "fill", noting)
    return noted


def write(name: str) -> None:
    Place.objects.bulk_create([Place(name=name)])
    IndexingService().index("places")


def test_it_reads_the_index_once_and_then_what_is_new(filled: list[str]) -> None:
    alias = router.db_for_write(Place)
    write("Alpha 1")
    assert found("places", "Alpha") == ["Alpha 1"]
    filled.clear()
    with pytest.raises(LookupError), transaction.atomic(using=alias):
        write("Alpha 3")
        for _ in range(3):
            assert max(found("places", "Alpha")) == "Alpha 3"
        assert filled == ["vector", "text"]
        write("Alpha 4")
        assert max(found("places", "Alpha")) == "Alpha 4"
        assert filled == ["vector", "text"]
        raise LookupError
    assert found("places", "Alpha") == ["Alpha 1"]


def test_what_a_savepoint_took_back_is_not_found(filled: list[str]) -> None:
    alias = router.db_for_write(Place)
    write("Alpha 1")
    with transaction.atomic(using=alias):
        write("Alpha 2")
        with pytest.raises(LookupError), transaction.atomic(using=alias):
            write("Alpha 3")
            assert sorted(found("places", "Alpha")) == ["Alpha 1", "Alpha 2", "Alpha 3"]
            raise LookupError
        assert sorted(found("places", "Alpha")) == ["Alpha 1", "Alpha 2"]
        write("Alpha 4")  # its chunk may have the number of the one that is gone
        assert sorted(found("places", "Alpha")) == ["Alpha 1", "Alpha 2", "Alpha 4"]
    assert sorted(found("places", "Alpha")) == ["Alpha 1", "Alpha 2", "Alpha 4"]
    assert not replica._privates
