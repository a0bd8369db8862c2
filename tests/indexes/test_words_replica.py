"""Words on disk equal the chunk table: restarts, other processes, rollbacks, restored histories."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.conf import settings
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from django_obc_ai.backends.lexical_stores import lexical_stores
from django_obc_ai.backends.lexical_stores.bm25 import BM25LexicalStore
from django_obc_ai.indexes import get_index
from django_obc_ai.indexes.replica import sync_words
from django_obc_ai.models import Chunk, IndexState
from django_obc_ai.services.indexing import IndexingService
from django_obc_ai.services.search import SimilaritySearchService
from django_obc_ai.testing import override_ai
from tests.backends.words_in_process import aside, snapshots
from tests.indexes.test_faiss_replica import restore, snapshot_of_tables
from tests.subprocesses import run_together
from tests.testapp.models import Place

pytestmark = pytest.mark.django_db(transaction=True)
BM25 = "django_obc_ai.backends.lexical_stores.bm25.BM25LexicalStore"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    with override_ai(LEXICAL_STORES=stores(tmp_path)):
        yield tmp_path


@pytest.fixture
def places() -> list[Place]:
    names = ("river", "market", "coast", "stall")
    made = [
        Place.objects.create(name=f"{names[n % 4]} {names[n % 3]} {n}", province="Sulu")
        for n in range(40)
    ]
    IndexingService().index("places")
    return made


def stores(folder: Path) -> dict[str, Any]:
    return {"default": {"BACKEND": BM25, "OPTIONS": {"path": str(folder)}}}


def restart() -> BM25LexicalStore:
    """What a new process begins with: files, and an empty memory."""
    lexical_stores.reset()
    store = lexical_stores["default"]
    assert isinstance(store, BM25LexicalStore)
    return store


def found(query: str) -> list[Any]:
    results = SimilaritySearchService().search("places", query, user=None, k=50, mode="lexical")
    return [each.object.pk for each in results]


def assert_equal_to_table() -> None:
    """The store holds the serving generation's chunks, and finds what one in memory finds."""
    index = get_index("places")
    held = sync_words(index)
    state = IndexState.objects.get(pk="places")
    now = held.store.state("places")
    assert now is not None
    assert (now.version, now.stamp) == (state.version, state.stamp)
    rows = list(Chunk.objects.filter(generation=held.generation.id).values_list("pk", "text"))
    plain = BM25LexicalStore()
    ids = np.array([pk for pk, _ in rows], dtype=np.int64)
    plain.reset("places", batches=[(ids, [text for _, text in rows])], state=now)
    queries = ["river", "market sulu", "7", "coast stall 12", "renamed"]
    assert held.store.search("places", queries, 100) == plain.search("places", queries, 100)
    assert held.store.count("places") == len(rows)


def text_reads(queries: CaptureQueriesContext) -> int:
    """Statements that read texts of chunks, of all or of newer ones."""
    return sum('."text"' in each["sql"] for each in queries)


def whole_reads(queries: CaptureQueriesContext) -> int:
    """Whole reads of the chunk table: pages by rising key."""
    return sum('"id" > 0' in q["sql"] and "chunk" in q["sql"] for q in queries)


def test_a_new_process_starts_from_files_and_reads_only_what_is_newer(
    places: list[Place],
) -> None:
    with CaptureQueriesContext(connection) as queries:
        sync_words(get_index("places"))
    assert text_reads(queries) > 0
    store = restart()
    with CaptureQueriesContext(connection) as queries:
        sync_words(get_index("places"))
    assert text_reads(queries) == 0
    assert store._contents["places"].changes == 0
    places[3].name = "Renamed meanwhile"
    places[3].save()
    places[4].delete()
    store = restart()
    with CaptureQueriesContext(connection) as queries:
        sync_words(get_index("places"))
    assert (text_reads(queries) > 0, whole_reads(queries)) == (True, 0)
    assert store._contents["places"].changes == 3  # two removed, one added
    assert_equal_to_table()


def test_another_process_reads_no_text_of_the_database(places: list[Place], folder: Path) -> None:
    wanted = found("river coast")
    assert wanted != []
    (answer,) = run_together("tests.indexes.words_process", given(folder), count=1)
    (snapshot,) = snapshots(folder)
    assert answer == {"found": wanted, "reads": 0, "fills": 0, "mapped": str(snapshot)}


def test_of_processes_that_begin_together_one_reads_the_texts(
    places: list[Place], folder: Path
) -> None:
    answers = run_together("tests.indexes.words_process", given(folder), count=4)
    (snapshot,) = snapshots(folder)
    assert {each["mapped"] for each in answers} == {str(snapshot)}
    assert sorted(each["fills"] for each in answers) == [0, 0, 0, 1]
    assert [each["found"] for each in answers] == [found("river coast")] * 4
    assert aside(folder) == []


def given(folder: Path) -> dict[str, Any]:
    """The argument of the process."""
    return {
        "DATABASES": {"default": _database()},
        "OBC_AI": {"LEXICAL_STORES": stores(folder)},
        "APPS": ["tests.testapp"],
        "query": "river coast",
    }


def _database() -> dict[str, Any]:
    names = ("ENGINE", "NAME", "HOST", "PORT", "USER", "PASSWORD")
    return {name: str(connection.settings_dict[name]) for name in names}


@pytest.mark.parametrize("name", ["ids.i64", "rows.i32", "words.u64", "manifest.json"])
def test_damaged_files_are_rebuilt_from_rows(name: str, places: list[Place], folder: Path) -> None:
    assert_equal_to_table()
    (snapshot,) = snapshots(folder)
    content = bytearray((snapshot / name).read_bytes())
    content[len(content) // 3] ^= 1
    (snapshot / name).write_bytes(content)
    restart()
    with CaptureQueriesContext(connection) as queries:
        assert_equal_to_table()
    assert whole_reads(queries) == 1
    assert len(aside(folder)) == 1
    restart()
    with CaptureQueriesContext(connection) as queries:
        sync_words(get_index("places"))
    assert text_reads(queries) == 0


def test_a_rolled_back_write_never_reaches_files_or_memory(places: list[Place]) -> None:
    assert_equal_to_table()
    before = lexical_stores["default"].state("places")
    with pytest.raises(RuntimeError), transaction.atomic():
        places[0].name = "Never happened"
        places[0].save()
        IndexingService().index("places")
        assert found("happened") == [places[0].pk]
        store = sync_words(get_index("places")).store
        assert store.path is None
        raise RuntimeError
    assert lexical_stores["default"].state("places") == before
    assert found("happened") == []
    restart()
    assert_equal_to_table()


@pytest.mark.parametrize("is_new_process", [True, False])
def test_a_restored_backup_is_what_is_searched_though_ids_and_versions_come_again(
    is_new_process: bool, places: list[Place], folder: Path
) -> None:
    backup = snapshot_of_tables()
    for place in places[:10]:
        place.name = f"After the backup {place.pk}"
        place.save()
    assert_equal_to_table()
    store = lexical_stores["default"]
    assert isinstance(store, BM25LexicalStore)
    store.fold("places")
    if is_new_process:
        restart()
    restore(backup)
    assert_equal_to_table()
    assert len(aside(folder)) == 1
    # Other writes now take the same versions, and their chunks the same ids.
    for place in places[20:30]:
        place.name = f"Renamed in another history {place.pk}"
        place.save()
        assert_equal_to_table()
    restart()
    assert_equal_to_table()


def test_a_rebuild_is_one_switch_and_the_old_generations_files_go(
    places: list[Place], folder: Path
) -> None:
    assert_equal_to_table()
    before = snapshots(folder)
    IndexingService().index("places", rebuild=True)
    assert_equal_to_table()
    assert len(snapshots(folder)) == 1 and snapshots(folder) != before
    assert aside(folder) == []


def test_settings_of_tests_keep_words_in_memory() -> None:
    assert settings.BASE_DIR
    with override_ai():
        assert lexical_stores["default"].path is None
