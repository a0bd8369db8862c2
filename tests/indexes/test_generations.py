"""The write transaction: busy databases, parallel runs, and names people read."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction

from django_obc_ai import receivers
from django_obc_ai.indexes import VectorIndex, generations, get_index, register
from django_obc_ai.indexes.registry import unregister
from django_obc_ai.models import (
    Chunk,
    CostReservation,
    CostTotal,
    DirtyRow,
    IndexGeneration,
    IndexState,
    IndexVersion,
    Tombstone,
)
from django_obc_ai.services.embeddings import EmbeddingService
from django_obc_ai.services.indexing import IndexingService, IndexProgress
from django_obc_ai.services.search import SimilaritySearchService
from django_obc_ai.testing import index_now, override_ai
from tests.indexes.test_equal_to_data import assert_equal_to_rows, found
from tests.testapp.models import Child, Place, UUIDThing

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _fresh_stores() -> Iterator[None]:
    with override_ai():
        yield


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    slept: list[float] = []
    monkeypatch.setattr("django_obc_ai.models.connections._sleep", slept.append)
    return slept


def test_a_busy_database_is_tried_again(waits: list[float]) -> None:
    index = get_index("places")
    generations.ensure_state(index)
    faults = iter([OperationalError("database is locked")] * 2)

    def work(state: IndexState) -> int:
        for fault in faults:
            raise fault
        return state.version

    assert generations.write(index, work) == 1
    assert len(waits) == 2


def test_a_database_that_stays_busy_is_an_error(waits: list[float]) -> None:
    index = get_index("places")
    generations.ensure_state(index)

    def work(state: IndexState) -> None:
        raise OperationalError("database is locked")

    with pytest.raises(OperationalError):
        generations.write(index, work)
    assert len(waits) == 4
    with pytest.raises(OperationalError), transaction.atomic():
        generations.write(index, work)
    assert len(waits) == 4


def test_runs_beside_each_other_end_in_one_equal_index() -> None:
    Place.objects.bulk_create([Place(name=f"Place {n}", province="Sulu") for n in range(60)])

    def run(number: int) -> bool:
        try:
            report = IndexingService().index("places", batch_size=5, rebuild=number == 2)
            return report.is_serving
        finally:
            connection.close()

    with ThreadPoolExecutor(3) as pool:
        assert all(pool.map(run, range(3)))
    IndexingService().index("places")
    assert IndexGeneration.objects.get().is_complete
    assert_equal_to_rows("places")
    assert len(found("places", "Place", threshold=-1)) == 60


def test_saves_beside_a_rebuild_are_in_the_new_generation() -> None:
    Place.objects.bulk_create([Place(name=f"Place {n}", province="Sulu") for n in range(40)])
    IndexingService().index("places")

    def save(step: IndexProgress) -> None:
        place = Place.objects.order_by("pk").first()
        assert place is not None
        place.name = f"Renamed {step.done}"
        place.save()
        Place.objects.create(name=f"New {step.done}")

    IndexingService().index("places", rebuild=True, batch_size=10, progress=save)
    assert_equal_to_rows("places")
    assert not DirtyRow.objects.exists()


def test_rows_of_every_table_say_what_they_are() -> None:
    Place.objects.create(name="One")
    IndexingService().index("places")
    generation = IndexGeneration.objects.get()
    chunk = Chunk.objects.get()
    assert str(IndexState.objects.get()) == "places"
    assert str(generation) == f"places {generation.pk}"
    assert str(chunk) == f"{chunk.object_key}#0"
    assert str(IndexVersion.objects.first()).startswith("places v")
    assert str(Tombstone(chunk_id=5)) == "5"
    assert str(DirtyRow(index_name="places", object_key="7")) == "places:7"
    assert str(CostTotal(key="global:day:2026-11-22")) == "global:day:2026-11-22"
    reservation = CostReservation()
    assert str(reservation) == str(reservation.pk)


def test_a_wake_that_fails_fails_nobody_else(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    IndexingService().index("places")
    heard: list[str] = []

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the embedder is down")

    with monkeypatch.context() as patch:
        patch.setattr(EmbeddingService, "embed_documents", broken)
        with transaction.atomic():
            Place.objects.create(name="Saved")
            transaction.on_commit(lambda: heard.append("later hook"))
        Place.objects.create(name="Saved in autocommit")
    assert heard == ["later hook"]
    assert "was not brought up to date" in caplog.text
    assert DirtyRow.objects.count() == 2
    IndexingService().index("places")
    assert_equal_to_rows("places")


def test_a_transaction_wakes_each_index_once(monkeypatch: pytest.MonkeyPatch) -> None:
    IndexingService().index("places")
    woken: list[str] = []
    original = IndexingService.process_changes

    def noting(self: IndexingService, name: str) -> object:
        woken.append(name)
        return original(self, name)

    monkeypatch.setattr(IndexingService, "process_changes", noting)
    with transaction.atomic():
        for number in range(5):
            Place.objects.create(name=f"Place {number}")
    assert woken == ["places"]
    assert_equal_to_rows("places")


def test_a_key_is_the_same_however_it_is_written() -> None:
    IndexingService().index("uuids")
    thing = UUIDThing(id=uuid.uuid4().hex, title="Marawi")
    thing.save()
    assert found("uuids", "Marawi") == ["Marawi"]
    thing.delete()
    assert Chunk.objects.count() == 0


def test_saving_the_parent_of_an_indexed_child_counts() -> None:
    class ChildIndex(VectorIndex):
        name = "children"
        model = Child
        fields = ("name",)

        def visible_to(self, queryset: Any, user: Any) -> Any:
            return queryset

    register(ChildIndex)
    index = get_index("children")
    receivers.connect(index)
    try:
        child = Child.objects.create(name="Old")
        IndexingService().index("children")
        place = Place.objects.get(pk=child.pk)
        place.name = "New"
        place.save()
        assert_equal_to_rows("children")
    finally:
        receivers.disconnect(index)
        unregister("children")


def test_a_search_beside_edits_always_fills_its_places() -> None:
    Place.objects.bulk_create([Place(name=f"Place {n}", province="Sulu") for n in range(20)])
    IndexingService().index("places")
    is_done = threading.Event()

    def edit() -> None:
        try:
            for number in range(60):
                place = Place.objects.order_by("?").first()
                assert place is not None
                place.province = f"Sulu {number}"
                place.save()
        finally:
            is_done.set()
            connection.close()

    thread = threading.Thread(target=edit)
    thread.start()
    counts = set()
    while not is_done.is_set():
        counts.add(len(found("places", "Sulu Place", threshold=-1)))
    thread.join()
    assert counts == {20}


def test_two_objects_that_exchange_their_texts_are_settled_without_embedding() -> None:
    with override_ai():
        one, two = (Place.objects.create(name=name) for name in ("river", "coast"))
        index_now("places")
        one.name, two.name = two.name, one.name
        Place.objects.bulk_update([one, two], ["name"])
        report = IndexingService().index("places")
        assert report.embedded == 0
        assert IndexingService().verify("places").is_equal


def test_a_fitted_state_stays_with_its_generation() -> None:
    """Saves and queries use the weights that the generation was built with, until the next."""
    Place.objects.bulk_create(Place(name=f"Barangay {n}") for n in range(20))
    service = IndexingService()
    service.index("places")
    first = IndexGeneration.objects.get()
    assert first.fitted_state
    Place.objects.create(name="Fishing port")  # would change the weights, were they learnt anew
    (chunk,) = Chunk.objects.filter(text="Fishing port")
    embedder = EmbeddingService()
    with_first = embedder.embed_documents(["Fishing port"], state=bytes(first.fitted_state))
    assert bytes(chunk.vector) == with_first[0].astype("<f4").tobytes()
    service.index("places", rebuild=True)
    second = generations.serving_of(get_index("places"))
    assert second is not None
    assert second.fingerprint == first.fingerprint
    assert second.fitted_state != first.fitted_state
    (chunk,) = Chunk.objects.filter(generation=second, text="Fishing port")
    with_second = embedder.embed_documents(["Fishing port"], state=bytes(second.fitted_state))
    assert bytes(chunk.vector) == with_second[0].astype("<f4").tobytes()
    (result, *_) = SimilaritySearchService().search("places", "fishing port", user=None)
    assert result.score == pytest.approx(1, abs=1e-4)
