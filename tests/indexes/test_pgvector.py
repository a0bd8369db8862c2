"""The tables of the pgvector store are equal to the chunks, whatever happens to either."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.db import connections, transaction

from django_obc_ai.backends.vector_stores import _pgvector_feed as feeding
from django_obc_ai.backends.vector_stores import _pgvector_tables as tables
from django_obc_ai.backends.vector_stores import vector_stores
from django_obc_ai.models import IndexGeneration
from django_obc_ai.services._index_reports import IndexProgress
from django_obc_ai.services.indexing import IndexingService
from django_obc_ai.testing import index_now, override_ai
from tests.extras import requires
from tests.indexes.in_postgres import (
    DATABASES,
    assert_tables_equal,
    in_postgres,
    save,
    sql,
    vector_tables,
)
from tests.indexes.test_equal_to_data import found
from tests.testapp.models import Place

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=DATABASES),
    pytest.mark.usefixtures("postgres_alias"),
]


@pytest.fixture(autouse=True)
def _there(postgres_alias: str) -> Iterator[None]:
    with in_postgres():
        yield


def test_every_change_reaches_the_table_in_its_own_transaction() -> None:
    places = save()
    IndexingService().index("places")
    assert_tables_equal()
    with transaction.atomic(using="postgres"):
        places[0].name = "Zebra"
        places[0].save()
        places[1].delete()
        index_now("places")
        assert_tables_equal()
        assert found("places", "Zebra") == ["Zebra"]
        with transaction.atomic(using="postgres"):
            Place.objects.all().delete()
            index_now("places")
            assert found("places", "Alpha Zebra") == []
            transaction.set_rollback(True, using="postgres")
        assert len(found("places", "Alpha")) == 4
        assert_tables_equal()
        transaction.set_rollback(True, using="postgres")
    assert len(found("places", "Alpha")) == 6
    assert_tables_equal()


def test_a_rebuild_serves_from_a_new_table_and_drops_the_old_one() -> None:
    save()
    IndexingService().index("places")
    before = vector_tables()
    seen: list[int] = []

    def look(progress: IndexProgress) -> None:
        seen.append(len(found("places", "Alpha")))
        Place.objects.create(name=f"Alpha beside {progress.done}")
        assert_tables_equal()

    IndexingService().index("places", rebuild=True, batch_size=2, progress=look)
    assert seen == [6, 7, 8]
    assert len(found("places", "Alpha")) == 9
    assert_tables_equal()
    assert vector_tables().isdisjoint(before)


@requires("faiss")
def test_to_another_store_and_back_is_a_setting_and_embeds_nothing(tmp_path: Path) -> None:
    save()
    faiss = {"BACKEND": "django_obc_ai.backends.vector_stores.faiss.FaissVectorStore"}
    elsewhere = {"default": {**faiss, "OPTIONS": {"path": str(tmp_path)}}}
    with override_ai(VECTOR_STORES=elsewhere, DATABASE="postgres"):
        assert IndexingService().index("places").embedded == 6
        assert not vector_tables()
        wanted = found("places", "Alpha 3")
    report = IndexingService().index("places")
    assert (report.embedded, report.reason) == (0, "")
    assert_tables_equal()
    assert len(vector_tables()) == 1
    assert found("places", "Alpha 3") == wanted
    with override_ai(VECTOR_STORES=elsewhere, DATABASE="postgres"):
        # A worker that still has the old setting writes for those that have the new one.
        Place.objects.create(name="Zebra")
        assert_tables_equal()
        assert found("places", "Zebra") == ["Zebra"]
    assert found("places", "Zebra") == ["Zebra"]
    with override_ai(VECTOR_STORES=elsewhere, DATABASE="postgres"):
        assert IndexingService().index("places").embedded == 0
        assert not vector_tables()
        assert found("places", "Zebra") == ["Zebra"]


def test_a_search_fills_a_table_that_is_missing() -> None:
    save()
    with override_ai(DATABASE="postgres"):  # in memory
        IndexingService().index("places")
    assert len(found("places", "Alpha")) == 6
    assert_tables_equal()
    (name,) = vector_tables()
    sql(f"DROP TABLE {name}")  # as after a restore that left it out
    assert len(found("places", "Alpha")) == 6
    assert_tables_equal()
    sql(f"DROP TABLE {name}")
    with transaction.atomic(using="postgres"):
        Place.objects.create(name="Alpha 6")
        assert len(found("places", "Alpha")) == 6  # the transaction goes on
    assert len(found("places", "Alpha")) == 7
    assert_tables_equal()


@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ"])
def test_a_reading_transaction_has_the_table_filled_outside_of_it(level: str) -> None:
    """What it takes back at its end is not the table; unless it would not see that."""
    save()
    with override_ai(DATABASE="postgres"):  # in memory
        IndexingService().index("places")
    with suppress(LookupError), transaction.atomic(using="postgres"):
        sql(f"SET TRANSACTION ISOLATION LEVEL {level}")
        assert len(found("places", "Alpha")) == 6
        raise LookupError
    assert len(vector_tables()) == (level == "READ COMMITTED")
    assert len(found("places", "Alpha")) == 6
    assert_tables_equal()


def test_two_that_fill_share_the_work_and_go_on_where_one_was_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feeding, "_BATCH", 10)
    save(35)
    with override_ai(DATABASE="postgres"):
        IndexingService().index("places")
    (generation,) = IndexGeneration.objects.all()
    columns = vector_stores["default"].columns(Place, generation.dimension)  # type: ignore[attr-defined]
    feeding._fill_step("postgres", "places", generation.pk, columns)  # and here it was killed
    assert sql(f"SELECT count(*) FROM {tables.name_of(generation.pk)}") == [(10,)]
    with override_ai(DATABASE="postgres"):  # edits meanwhile
        Place.objects.filter(name="Alpha 3").get().delete()
        Place.objects.create(name="Alpha 40", province="Sulu")

    def search(_: int) -> int:
        try:
            return len(found("places", "Alpha", threshold=-1))
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(search, range(4))) == {35}
    assert_tables_equal()


def test_a_table_that_is_being_exchanged_is_not_searched_and_searches_undo_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    save(35)
    IndexingService().index("places")
    monkeypatch.setattr(feeding, "_BATCH", 10)
    (generation,) = IndexGeneration.objects.all()
    mine = vector_stores["default"].columns(Place, generation.dimension)  # type: ignore[attr-defined]
    other = replace(mine, type="halfvec" if mine.type == "vector" else "vector")
    assert not feeding._fill_step("postgres", "places", generation.pk, other)  # and killed
    assert IndexGeneration.objects.get().held_version is None
    assert len(found("places", "Alpha", threshold=-1)) == 35
    assert tables.columns_of("postgres", generation.pk) == other


def test_a_process_that_is_killed_in_a_write_leaves_both_as_they_were() -> None:
    save()
    IndexingService().index("places")
    connections.close_all()
    child = os.fork()
    if child == 0:
        try:
            Place.objects.filter(name="Alpha 1").update(name="Zebra")
            original = feeding.feed

            def killed(*args: Any, **options: Any) -> None:
                original(*args, **options)
                os.kill(os.getpid(), 9)

            feeding.feed = killed  # type: ignore[assignment]
            IndexingService().index("places")
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -9
    assert_tables_equal()
    assert not found("places", "Zebra")
    IndexingService().index("places")
    assert found("places", "Zebra") == ["Zebra"]
    assert_tables_equal()


def test_writers_searches_and_rebuilds_beside_each_other() -> None:
    places = save(12)
    IndexingService().index("places")
    problems: list[str] = []
    is_done = threading.Event()

    def search() -> None:
        while not is_done.is_set():
            names = found("places", "Alpha")
            if len(names) != 12:
                problems.append(f"{len(names)} found")

    def write(number: int) -> None:
        for turn in range(6):
            place = places[number * 6 + turn % 3]
            place.province = f"Basilan {turn}"
            place.save()

    def rebuild() -> None:
        for _ in range(3):
            IndexingService().index("places", rebuild=True)

    def ended(work: Any, *args: Any) -> None:
        try:
            work(*args)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(5) as pool:
        searches = [pool.submit(ended, search) for _ in range(2)]
        writers = [pool.submit(ended, write, number) for number in range(2)]
        try:
            for each in [*writers, pool.submit(ended, rebuild)]:
                each.result()
        finally:
            is_done.set()
        for each in searches:
            each.result()
    assert problems == []
    assert_tables_equal()
    assert IndexingService().verify("places").is_equal
