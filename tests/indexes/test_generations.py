"""The write transaction: busy databases, parallel runs, and names people read."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import OperationalError, connection, transaction

from django_obc_ai.indexes import generations, get_index
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
from django_obc_ai.services.indexing import IndexingService
from django_obc_ai.testing import override_ai
from tests.indexes.test_equal_to_data import assert_equal_to_rows, found
from tests.testapp.models import Place

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _fresh_stores() -> Iterator[None]:
    with override_ai():
        yield


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    slept: list[float] = []
    monkeypatch.setattr("django_obc_ai.indexes.generations._sleep", slept.append)
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

    def save(done: int, total: int) -> None:
        place = Place.objects.order_by("pk").first()
        assert place is not None
        place.name = f"Renamed {done}"
        place.save()
        Place.objects.create(name=f"New {done}")

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
