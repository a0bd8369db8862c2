"""A FAISS replica equals its own database: restarts, rollbacks, restored and foreign histories."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from django_obc_ai.backends.embedders.hashing import HashingEmbedder
from django_obc_ai.backends.snapshots import stores
from django_obc_ai.backends.vector_stores import vector_stores
from django_obc_ai.backends.vector_stores.faiss import FaissVectorStore
from django_obc_ai.backends.vector_stores.numpy import NumpyVectorStore
from django_obc_ai.indexes import contents, generations, get_index
from django_obc_ai.indexes.documents import Piece
from django_obc_ai.indexes.replica import sync
from django_obc_ai.models import Chunk, IndexState, IndexVersion, Tombstone
from django_obc_ai.services.indexing import IndexingService
from django_obc_ai.testing import override_ai
from tests.extras import requires
from tests.indexes.test_equal_to_data import found
from tests.testapp.models import Place

pytestmark = [requires("faiss"), pytest.mark.django_db(transaction=True)]
FAISS = "django_obc_ai.backends.vector_stores.faiss.FaissVectorStore"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    options = {"path": str(tmp_path)}
    with override_ai(VECTOR_STORES={"default": {"BACKEND": FAISS, "OPTIONS": options}}):
        yield tmp_path


@pytest.fixture
def places() -> list[Place]:
    made = [Place.objects.create(name=f"Place {n}", province="Sulu") for n in range(40)]
    IndexingService().index("places")
    return made


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many texts each call of the embedder got."""
    calls: list[int] = []
    original = HashingEmbedder.embed_documents

    def noting(self: HashingEmbedder, texts: Any, **rest: Any) -> Any:
        calls.append(len(texts))
        return original(self, texts, **rest)

    monkeypatch.setattr(HashingEmbedder, "embed_documents", noting)
    return calls


def restart() -> FaissVectorStore:
    """What a new process begins with: files, and an empty memory."""
    vector_stores.reset()
    store = vector_stores["default"]
    assert isinstance(store, FaissVectorStore)
    return store


def assert_equal_to_table() -> None:
    """The replica holds exactly the serving generation's chunks, and ranks as brute force does."""
    replica = sync(get_index("places"))
    rows = list(Chunk.objects.filter(generation=replica.state.generation))
    plain = NumpyVectorStore()
    ids = np.array([row.pk for row in rows], dtype=np.int64)
    vectors = np.array([np.frombuffer(row.vector, "<f4") for row in rows])
    dimension = replica.generation.dimension
    plain.reset(
        "places",
        dimension=dimension,
        batches=[(ids, vectors.reshape(-1, dimension))],
        state=replica.state,
    )
    state = IndexState.objects.get(pk="places")
    assert (replica.state.version, replica.state.stamp) == (state.version, state.stamp)
    assert replica.store.count("places") == len(rows)
    for query in vectors[:5]:
        assert replica.store.search("places", query[None], 100) == plain.search(
            "places", query[None], 100
        )


def chunk_reads(queries: CaptureQueriesContext) -> int:
    """Whole reads of the chunk table among the queries: pages by rising key."""
    return sum('"id" > 0' in q["sql"] and "chunk" in q["sql"] for q in queries)


def test_a_new_process_starts_from_files_and_reads_only_what_is_newer(
    places: list[Place], embedded: list[int]
) -> None:
    assert_equal_to_table()
    places[3].name = "Changed meanwhile"
    places[3].save()
    places[4].delete()
    embedded.clear()
    store = restart()
    with CaptureQueriesContext(connection) as queries:
        sync(get_index("places"))
    assert chunk_reads(queries) == 0
    assert store._contents["places"].changes == 3  # two removed, one added
    assert embedded == []
    assert_equal_to_table()


@pytest.mark.parametrize("name", ["ids.i64", "vectors.f32", "halves.f16", "manifest.json"])
def test_damaged_files_are_rebuilt_from_rows_without_embedding(
    name: str, places: list[Place], embedded: list[int], folder: Path
) -> None:
    assert_equal_to_table()
    embedded.clear()
    (file,) = folder.glob(f"*/*/snapshot-*/{name}")
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 1
    file.write_bytes(content)
    restart()
    with CaptureQueriesContext(connection) as queries:
        assert_equal_to_table()
    assert chunk_reads(queries) == 1
    assert embedded == []
    assert len(list(folder.glob("*/*/set-aside-*"))) == 1
    restart()
    with CaptureQueriesContext(connection) as queries:
        sync(get_index("places"))
    assert chunk_reads(queries) == 0


def test_a_rolled_back_write_never_reaches_files_or_memory(places: list[Place]) -> None:
    before = sync(get_index("places")).state
    with pytest.raises(RuntimeError), transaction.atomic():
        places[0].name = "Never happened"
        places[0].save()
        IndexingService().index("places")
        assert found("places", "Never happened")[:1] == ["Never happened"]
        assert isinstance(sync(get_index("places")).store, NumpyVectorStore)
        raise RuntimeError
    assert vector_stores["default"].state("places") == before
    assert_equal_to_table()
    restart()
    assert_equal_to_table()


def snapshot_of_tables() -> list[tuple[Any, list[dict[str, Any]]]]:
    tables = (IndexState, IndexVersion, Chunk, Tombstone)
    return [(table, list(table.objects.values())) for table in tables]


def restore(tables: list[tuple[Any, list[dict[str, Any]]]]) -> None:
    """Put the index tables back, as a backup would, ids and all."""
    for table, rows in tables:
        if table is IndexState:
            IndexState.objects.filter(pk="places").update(**rows[0])
            continue
        table.objects.all()._raw_delete("default")
        table.objects.bulk_create([table(**row) for row in rows])


@pytest.mark.parametrize("is_new_process", [True, False])
def test_a_restored_backup_is_what_is_searched_though_ids_and_versions_come_again(
    is_new_process: bool, places: list[Place], folder: Path
) -> None:
    backup = snapshot_of_tables()
    for place in places[:10]:
        place.name = f"After the backup {place.pk}"
        place.save()
    assert_equal_to_table()
    store = vector_stores["default"]
    assert isinstance(store, FaissVectorStore)
    store.fold("places")
    if is_new_process:
        restart()
    restore(backup)
    assert_equal_to_table()
    assert len(list(folder.glob("*/*/set-aside-*"))) == 1
    # Other writes now take the same versions, and their chunks the same ids.
    for place in places[20:30]:
        place.name = f"Another history {place.pk}"
        place.save()
        assert_equal_to_table()
    restart()
    assert_equal_to_table()


def test_another_database_in_the_same_folder_is_not_searched(
    places: list[Place], folder: Path
) -> None:
    assert_equal_to_table()
    # A copy of the database that lives on by itself would keep the uuid; a new one has another.
    IndexState.objects.filter(pk="places").update(uuid=uuid.uuid4())
    for _ in range(2):
        assert_equal_to_table()
        restart()
    assert len(list(folder.glob("*/*/snapshot-*"))) == 2
    assert list(folder.glob("*/*/set-aside-*")) == []


def test_files_older_than_the_horizon_are_rebuilt(
    places: list[Place], embedded: list[int], monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.setattr(generations, "KEPT_VERSIONS", 3)
    assert_equal_to_table()
    vector_stores["default"].close()
    IndexState.objects.filter(pk="places").update(version=995)
    for number in range(8):
        places[0].name = f"Name {number}"
        places[0].save()
    places[1].delete()
    embedded.clear()
    state = IndexState.objects.get(pk="places")
    assert state.horizon == 997
    restart()
    with CaptureQueriesContext(connection) as queries:
        assert_equal_to_table()
    assert chunk_reads(queries) == 1
    assert embedded == []
    assert len(list(folder.glob("*/*/set-aside-*"))) == 1


def test_a_rebuild_is_one_switch_and_the_old_generations_files_go(
    places: list[Place], folder: Path
) -> None:
    assert_equal_to_table()
    IndexingService().index("places", rebuild=True)
    assert_equal_to_table()
    assert len(list(folder.glob("*/*/snapshot-*"))) == 1
    assert list(folder.glob("*/*/set-aside-*")) == []


def test_a_replica_filled_beside_writers_is_one_exact_moment(places: list[Place]) -> None:
    """The rows are read in pages, between which a writer changes what was and will be read."""
    index = get_index("places")
    store = vector_stores["default"]
    original = store.reset
    generation = generations.serving_of(index)
    assert generation is not None
    ids = list(Chunk.objects.order_by("pk").values_list("object_key", flat=True))

    def edited(batches: Any) -> Iterator[Any]:
        for numbers, vectors in batches:
            for row in range(len(numbers)):
                yield numbers[row : row + 1], vectors[row : row + 1]
                if row % 10 == 5:  # one that was read, one that was, and one that comes
                    for key in (ids[row - 1], ids[row], ids[-1 - row // 10]):
                        change(key)

    def change(key: str) -> None:
        vector = np.random.default_rng(len(key)).normal(size=generation.dimension)
        content_hash = uuid.uuid4().hex * 2
        generations.write(
            index,
            lambda state: contents.replace_chunks(
                index,
                generation,
                state.version,
                {key: [Piece(text="changed", content_hash=content_hash)]},
                {content_hash: (vector / np.linalg.norm(vector)).astype("<f4").tobytes()},
            ),
        )

    def reset(index_name: str, *, batches: Any, **rest: Any) -> None:
        original(index_name, batches=edited(batches), **rest)

    store.reset = reset  # type: ignore[method-assign]
    assert_equal_to_table()
    assert Tombstone.objects.count() >= 12
    restart()
    assert_equal_to_table()


def test_searches_of_many_threads_beside_edits_and_folds_always_fill_their_places(
    places: list[Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "_FOLD_ROWS", (8, 8))
    monkeypatch.setattr(stores, "_RETRY_SECONDS", 0.0)  # where one was in the way
    is_done = threading.Event()

    def search() -> set[int]:
        counts = set()
        try:
            while not is_done.is_set():
                counts.add(len(found("places", "Sulu Place", threshold=-1)))
        finally:
            connection.close()
        return counts

    with ThreadPoolExecutor(3) as pool:
        searches = [pool.submit(search) for _ in range(3)]
        try:
            for number in range(60):
                place = places[number % 40]
                place.province = f"Sulu {number}"
                place.save()
        finally:
            is_done.set()
        assert {count for each in searches for count in each.result()} == {40}
    store = vector_stores["default"]
    assert isinstance(store, FaissVectorStore)
    for thread in list(store._folds.values()):
        thread.join()
    assert store._contents["places"].base.state.version > 20
    assert_equal_to_table()


@pytest.mark.skipif(os.environ.get("OBC_AI_TEST_DATABASE") != "postgres", reason="needs PostgreSQL")
def test_an_older_view_of_the_database_does_not_set_the_files_back(places: list[Place]) -> None:
    assert_equal_to_table()
    with transaction.atomic():
        connection.cursor().execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        assert Place.objects.count() == 40
        thread = threading.Thread(target=_rename_one)
        thread.start()
        thread.join()
        assert len(found("places", "Place", threshold=-1)) == 40
    assert_equal_to_table()


def _rename_one() -> None:
    place = Place.objects.order_by("pk")[0]
    place.name = "Renamed beside"
    place.save()
    sync(get_index("places"))
    connection.close()
