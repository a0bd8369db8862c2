"""The files of words: damage, folders of other histories, and words that were found otherwise."""

from __future__ import annotations

import os
import shutil
import unicodedata
import uuid
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from django_obc_ai.backends.lexical_stores import _snapshots, words
from django_obc_ai.backends.lexical_stores.bm25 import BM25LexicalStore
from django_obc_ai.backends.snapshots import files, folders, kinds
from django_obc_ai.types import ReplicaState
from tests.backends.test_faiss_files import empty, flip_bit, lengthen, rewrite, truncate
from tests.backends.words_in_process import (
    GENERATION,
    aside,
    change,
    fill,
    find_problem,
    moment,
    rows_of,
    snapshots,
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[BM25LexicalStore]:
    store = BM25LexicalStore(path=tmp_path)
    fill(store, 1)
    yield store
    store.close()


@pytest.mark.parametrize("name", [*_snapshots.FILES, files.MANIFEST])
@pytest.mark.parametrize("harm", [flip_bit, truncate, lengthen, empty, Path.unlink])
def test_damage_is_found_at_opening_and_set_aside(
    name: str, harm: Any, store: BM25LexicalStore, tmp_path: Path
) -> None:
    (snapshot,) = snapshots(tmp_path)
    store.close()
    harm(snapshot / name)
    assert store.state("places") is None
    assert (len(snapshots(tmp_path)), len(aside(tmp_path))) == (0, 1)
    fill(store, 2)
    assert find_problem(store) == ""


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 0},
        {"index": "other"},
        {"index_uuid": str(uuid.UUID(int=9))},
        {"count": -1},
        {"words": "5"},
        {"pairs": 1},
        {"files": {}},
        {"made_with": None},
    ],
)
def test_foreign_older_and_nonsensical_snapshots_are_set_aside(
    changes: dict[str, Any], store: BM25LexicalStore, tmp_path: Path
) -> None:
    (snapshot,) = snapshots(tmp_path)
    store.close()
    rewrite(snapshot / files.MANIFEST, **changes)
    assert store.state("places") is None
    assert len(aside(tmp_path)) == 1


def test_words_that_are_found_in_another_way_now_are_found_anew(
    store: BM25LexicalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (before,) = snapshots(tmp_path)
    monkeypatch.setattr(words, "VERSION", words.VERSION + 1)
    words.made_with.cache_clear()
    try:
        other = BM25LexicalStore(path=tmp_path)
        assert other.state("places") is None
        assert snapshots(tmp_path) == [before]  # processes of the old version may start yet
        fill(other, 2)
        (after,) = snapshots(tmp_path)
        assert (before == after, aside(tmp_path)) == (False, [])
        other.close()
        assert other.state("places") == moment(2)
    finally:
        words.made_with.cache_clear()
    monkeypatch.undo()
    # What is mapped lives on, and the others' is neither used nor in the way.
    store.load("places", moment(2), lambda _: True)
    assert store.state("places") == moment(1)
    assert find_problem(store) == ""
    assert snapshots(tmp_path) == [after]


def test_what_words_depend_on_is_named() -> None:
    found = dict(part.rsplit(" ", 1) for part in words.made_with().split(", "))
    assert found == {
        "words": str(words.VERSION),
        "snowballstemmer": metadata.version("snowballstemmer"),
        "Unicode": unicodedata.unidata_version,
    }


def test_large_files_are_compared_again_after_they_were_touched(
    store: BM25LexicalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kinds, "ALWAYS_VERIFIED_BYTES", 0)
    compared: list[str] = []
    original = kinds.verify

    def noting(snapshot: Any) -> None:
        compared.append(snapshot.folder.name)
        original(snapshot)

    monkeypatch.setattr(kinds, "verify", noting)

    def reopen() -> int:
        compared.clear()
        store.close()
        assert store.count("places") == 300
        return len(compared)

    (snapshot,) = snapshots(tmp_path)
    assert reopen() == 0  # the writer has just computed the sums
    os.utime(snapshot / _snapshots.ROWS)
    assert [reopen(), reopen()] == [1, 0]
    flip_bit(snapshot / _snapshots.COUNTS)
    store.close()
    assert store.state("places") is None


def test_damage_that_was_not_seen_at_opening_is_found_before_it_is_folded_on(
    store: BM25LexicalStore, tmp_path: Path
) -> None:
    (snapshot,) = snapshots(tmp_path)
    path = snapshot / _snapshots.COUNTS
    before = path.stat()
    with path.open("r+b") as file:  # the mapped file itself
        file.seek(100)
        file.write(b"\xff\xff")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # as a failing disk does
    change(store, 2)
    assert store.fold("places") is False
    assert store.state("places") is None
    assert (len(snapshots(tmp_path)), len(aside(tmp_path))) == (0, 1)


@pytest.mark.parametrize("name", _snapshots.FILES)
def test_files_that_are_written_into_while_they_are_mapped_are_not_searched(
    name: str, store: BM25LexicalStore, tmp_path: Path
) -> None:
    (snapshot,) = snapshots(tmp_path)
    assert store.state("places") is not None
    with (snapshot / name).open("r+b") as file:
        byte = file.read(1)[0]
        file.seek(0)
        file.write(bytes([byte ^ 4]))
    assert store.state("places") is None
    assert len(aside(tmp_path)) == 1
    fill(store, 2)
    assert find_problem(store) == ""


def test_only_the_last_few_are_kept_aside(store: BM25LexicalStore, tmp_path: Path) -> None:
    for version in range(2, 7):
        (snapshot,) = snapshots(tmp_path)
        truncate(snapshot / _snapshots.IDS)
        store.close()
        assert store.state("places") is None
        fill(store, version)
    assert len(aside(tmp_path)) == folders.KEPT_ASIDE


def test_a_history_that_the_database_does_not_know_is_set_aside(
    store: BM25LexicalStore, tmp_path: Path
) -> None:
    store.close()
    fresh = BM25LexicalStore(path=tmp_path)
    fresh.load("places", moment(5, "restored"), lambda state: state.stamp == "restored")
    assert fresh._contents == {}
    fresh.reset("places", batches=[rows_of(5)], state=moment(5, "restored"))
    (kept,) = snapshots(tmp_path)
    assert int(kept.name.split("-")[1]) == 5
    assert len(aside(tmp_path)) == 1
    fresh.close()


def test_two_databases_share_a_folder_without_touching_each_other(tmp_path: Path) -> None:
    def state(database: int) -> ReplicaState:
        uuid_ = uuid.UUID(int=database)
        return ReplicaState(index_uuid=uuid_, generation=GENERATION, version=3, stamp="s")

    for database in (1, 2):
        store = BM25LexicalStore(path=tmp_path)
        store.reset("places", batches=[rows_of(database)], state=state(database))
        store.close()
    for database in (1, 2, 1):
        store = BM25LexicalStore(path=tmp_path)
        store.load("places", state(database), lambda found, wanted=database: found == state(wanted))
        assert store.state("places") == state(database)
        hits = store.search("places", ["river"], 500)[0]
        assert {hit.id // 1_000 for hit in hits} == {database}
        store.close()
    assert (len(snapshots(tmp_path)), aside(tmp_path)) == (2, [])


def test_a_snapshot_copied_from_another_database_is_set_aside(
    store: BM25LexicalStore, tmp_path: Path
) -> None:
    (snapshot,) = snapshots(tmp_path)
    other = snapshot.parent.parent.with_name(str(uuid.UUID(int=77))) / "words"
    shutil.copytree(snapshot, other / snapshot.name)
    wanted = ReplicaState(index_uuid=uuid.UUID(int=77), generation=GENERATION, version=1, stamp="s")
    fresh = BM25LexicalStore(path=tmp_path)
    fresh.load("places", wanted, lambda _: True)
    assert len(list(other.glob("set-aside-*"))) == 1
    assert store.count("places") == 300
