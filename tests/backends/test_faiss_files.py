"""The files of the FAISS store: damage, and folders of other histories and databases."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from django_obc_ai.backends.snapshots import files as _files
from django_obc_ai.backends.snapshots import folders as _folders
from django_obc_ai.backends.snapshots import kinds
from django_obc_ai.backends.vector_stores import _snapshots
from django_obc_ai.backends.vector_stores.faiss import FaissVectorStore
from django_obc_ai.types import ReplicaState
from tests.backends.faiss_in_process import (
    DIMENSION,
    fill,
    find_problem,
    moment,
    rows_of,
)
from tests.extras import requires

pytestmark = requires("faiss")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FaissVectorStore]:
    store = FaissVectorStore(path=tmp_path)
    fill(store, 1)
    yield store
    store.close()


def snapshots(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*/snapshot-*"))


def aside(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*/set-aside-*"))


# --- damage ------------------------------------------------------------------------------------
def flip_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 8)


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + bytes(8))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def rewrite(path: Path, **changes: object) -> None:
    """Change a manifest and give it the right sum of its own."""
    import hashlib

    manifest = json.loads(path.read_bytes().partition(b"\n")[0])
    body = json.dumps({**manifest, **changes}, sort_keys=True)
    path.write_text(f"{body}\n{hashlib.sha256(body.encode()).hexdigest()}\n")


@pytest.mark.parametrize(
    "name", [_snapshots.IDS, _snapshots.VECTORS, _snapshots.HALVES, _files.MANIFEST]
)
@pytest.mark.parametrize("harm", [flip_bit, truncate, lengthen, empty, Path.unlink])
def test_damage_is_found_at_opening_and_set_aside(
    name: str, harm: Any, store: FaissVectorStore, tmp_path: Path
) -> None:
    (snapshot,) = snapshots(tmp_path)
    store.close()
    harm(snapshot / name)
    assert store.state("places") is None
    assert snapshots(tmp_path) == []
    assert len(aside(tmp_path)) == 1
    fill(store, 2)
    assert find_problem(store) == ""


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 0},
        {"format": 2},
        {"index": "other"},
        {"index_uuid": str(uuid.UUID(int=9))},
        {"index_uuid": "../.."},
        {"dimension": 64},
        {"count": -1},
        {"count": "300"},
        {"files": {}},
        {"version": None, "stamp": None, "generation": None},
    ],
)
def test_foreign_older_and_nonsensical_snapshots_are_set_aside(
    changes: dict[str, Any], store: FaissVectorStore, tmp_path: Path
) -> None:
    (snapshot,) = snapshots(tmp_path)
    store.close()
    rewrite(snapshot / _files.MANIFEST, **changes)
    assert store.state("places") is None
    assert len(aside(tmp_path)) == 1


def test_large_files_are_compared_again_after_they_were_touched_and_every_week(
    store: FaissVectorStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    os.utime(snapshot / _snapshots.VECTORS)
    assert [reopen(), reopen()] == [1, 0]
    (snapshot / _files.VERIFIED).write_text("{")
    assert [reopen(), reopen()] == [1, 0]
    monkeypatch.setattr(kinds, "VERIFY_AFTER_SECONDS", 0)
    assert reopen() == 1
    flip_bit(snapshot / _snapshots.HALVES)
    store.close()
    assert store.state("places") is None


def test_damage_that_was_not_seen_at_opening_is_found_before_it_is_folded_on(
    store: FaissVectorStore, tmp_path: Path
) -> None:
    (snapshot,) = snapshots(tmp_path)
    path = snapshot / _snapshots.VECTORS
    before = path.stat()
    with path.open("r+b") as file:  # the mapped file itself
        file.seek(1_000)
        file.write(b"\xff\xff")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # as a failing disk does
    ids, vectors = rows_of(2)
    store.apply("places", ids=ids, vectors=vectors, removed=[], state=moment(2))
    assert store.fold("places") is False
    assert store.state("places") is None
    assert (len(snapshots(tmp_path)), len(aside(tmp_path))) == (0, 1)


@pytest.mark.parametrize("name", [_snapshots.IDS, _snapshots.VECTORS, _snapshots.HALVES])
def test_files_that_are_written_into_while_they_are_mapped_are_not_searched(
    name: str, store: FaissVectorStore, tmp_path: Path
) -> None:
    (snapshot,) = snapshots(tmp_path)
    assert store.state("places") is not None
    with (snapshot / name).open("r+b") as file:
        file.seek(100)
        byte = file.read(1)[0]
        file.seek(100)
        file.write(bytes([byte ^ 4]))
    assert store.state("places") is None
    assert len(aside(tmp_path)) == 1
    fill(store, 2)
    assert find_problem(store) == ""


def test_files_that_were_only_touched_are_searched_on(
    store: FaissVectorStore, tmp_path: Path
) -> None:
    (snapshot,) = snapshots(tmp_path)
    held = store.state("places")
    os.utime(snapshot / _snapshots.VECTORS)
    assert store.state("places") == held
    assert find_problem(store) == ""


def test_only_the_last_few_are_kept_aside(store: FaissVectorStore, tmp_path: Path) -> None:
    names = []
    for version in range(2, 9):
        (snapshot,) = snapshots(tmp_path)
        truncate(snapshot / _snapshots.IDS)
        store.close()
        assert store.state("places") is None
        names.append(aside(tmp_path)[-1])
        fill(store, version)
    assert aside(tmp_path) == names[-_folders.KEPT_ASIDE :]


def test_a_history_that_the_database_does_not_know_is_set_aside(
    store: FaissVectorStore, tmp_path: Path
) -> None:
    store.close()
    fresh = FaissVectorStore(path=tmp_path)
    fresh.load("places", moment(5, "restored"), lambda state: state.stamp == "restored")
    assert snapshots(tmp_path) != []
    fresh.reset("places", dimension=DIMENSION, batches=[rows_of(5)], state=moment(5, "restored"))
    (kept,) = snapshots(tmp_path)
    assert int(kept.name.split("-")[1]) == 5
    assert len(aside(tmp_path)) == 1
    fresh.close()


def test_two_databases_share_a_folder_without_touching_each_other(tmp_path: Path) -> None:
    def state(database: int) -> ReplicaState:
        return ReplicaState(
            index_uuid=uuid.UUID(int=database), generation=uuid.UUID(int=2), version=3, stamp="s"
        )

    for database in (1, 2):
        store = FaissVectorStore(path=tmp_path)
        batches = [rows_of(database)]
        store.reset("places", dimension=DIMENSION, batches=batches, state=state(database))
        store.close()
    for database in (1, 2, 1):
        store = FaissVectorStore(path=tmp_path)
        store.load("places", state(database), lambda found, wanted=database: found == state(wanted))
        assert store.state("places") == state(database)
        hits = store.search("places", rows_of(database)[1][:1], 5)[0]
        assert {hit.id // 1_000 for hit in hits} == {database}
        store.close()
    assert len(snapshots(tmp_path)) == 2
    assert aside(tmp_path) == []


def test_a_snapshot_copied_from_another_database_is_set_aside(
    store: FaissVectorStore, tmp_path: Path
) -> None:
    (snapshot,) = snapshots(tmp_path)
    other = snapshot.parent.with_name(str(uuid.UUID(int=77)))
    shutil.copytree(snapshot, other / snapshot.name)
    wanted = ReplicaState(
        index_uuid=uuid.UUID(int=77), generation=uuid.UUID(int=2), version=1, stamp="s"
    )
    fresh = FaissVectorStore(path=tmp_path)
    fresh.load("places", wanted, lambda _: True)
    assert len(list(other.glob("set-aside-*"))) == 1
    assert store.count("places") == 300
