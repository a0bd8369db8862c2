"""The files of the FAISS store: damage, foreign folders, killed writers, many processes."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from django_obc_ai.backends.vector_stores import _folders, _snapshots
from django_obc_ai.backends.vector_stores.faiss import FaissVectorStore
from django_obc_ai.types import ReplicaState
from tests.backends.faiss_in_process import (
    DIMENSION,
    advance,
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


def process(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.backends.faiss_in_process", *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path.cwd()
    )


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
    "name", [_snapshots.IDS, _snapshots.VECTORS, _snapshots.HALVES, _snapshots.MANIFEST]
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
    rewrite(snapshot / _snapshots.MANIFEST, **changes)
    assert store.state("places") is None
    assert len(aside(tmp_path)) == 1


def test_large_files_are_compared_again_after_they_were_touched_and_every_week(
    store: FaissVectorStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_snapshots, "ALWAYS_VERIFIED_BYTES", 0)
    compared: list[str] = []
    original = _snapshots.verify

    def noting(snapshot: Any) -> None:
        compared.append(snapshot.folder.name)
        original(snapshot)

    monkeypatch.setattr(_snapshots, "verify", noting)

    def reopen() -> int:
        compared.clear()
        store.close()
        assert store.count("places") == 300
        return len(compared)

    (snapshot,) = snapshots(tmp_path)
    assert reopen() == 0  # the writer has just computed the sums
    os.utime(snapshot / _snapshots.VECTORS)
    assert [reopen(), reopen()] == [1, 0]
    (snapshot / _snapshots.VERIFIED).write_text("{")
    assert [reopen(), reopen()] == [1, 0]
    monkeypatch.setattr(_snapshots, "VERIFY_AFTER_SECONDS", 0)
    assert reopen() == 1
    flip_bit(snapshot / _snapshots.HALVES)
    store.close()
    assert store.state("places") is None


def test_damage_that_was_not_seen_at_opening_is_found_before_it_is_folded_on(
    store: FaissVectorStore, tmp_path: Path
) -> None:
    (snapshot,) = snapshots(tmp_path)
    with (snapshot / _snapshots.VECTORS).open("r+b") as file:  # the mapped file itself
        file.seek(1_000)
        file.write(b"\xff\xff")
    ids, vectors = rows_of(2)
    store.apply("places", ids=ids, vectors=vectors, removed=[], state=moment(2))
    assert store.fold("places") is False
    assert store.state("places") is None
    assert (len(snapshots(tmp_path)), len(aside(tmp_path))) == (0, 1)


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


# --- processes ---------------------------------------------------------------------------------
def test_a_writer_killed_at_any_point_leaves_a_usable_folder(tmp_path: Path) -> None:
    chance = random.Random(4)
    newest = 0
    for _ in range(12):
        writer = process("fold", str(tmp_path), "1")
        assert writer.stdout is not None and writer.stderr is not None
        assert writer.stdout.readline() == "ready\n", writer.stderr.read()
        time.sleep(chance.uniform(0, 0.08))
        writer.kill()
        writer.communicate()
        store = FaissVectorStore(path=tmp_path)
        held = store.state("places")
        assert held is not None and held.version >= newest
        newest = held.version
        assert find_problem(store) == ""
        store.close()
    assert aside(tmp_path) == []
    store = FaissVectorStore(path=tmp_path)
    store.state("places")
    advance(store, newest + 1)
    # What the killed ones left is gone after the next one has written.
    (folder,) = {each.parent for each in snapshots(tmp_path)}
    assert sorted(each.name.split("-")[0] for each in folder.iterdir()) == ["lock", "snapshot"]
    store.close()


def test_readers_in_8_processes_under_continuous_rebuild_see_no_error_and_no_torn_state(
    store: FaissVectorStore, tmp_path: Path
) -> None:
    writer = process("fold", str(tmp_path), "1")
    readers = [process("read", str(tmp_path), "4") for _ in range(8)]
    rounds = versions = 0
    for reader in readers:
        out, err = reader.communicate(timeout=120)
        assert reader.returncode == 0, err
        rounds, versions = rounds + int(out.split()[0]), max(versions, int(out.split()[1]))
    assert writer.poll() is None, writer.communicate()
    writer.kill()
    writer.communicate()
    assert rounds >= 16
    assert versions >= 3  # there was something to see
    assert aside(tmp_path) == []


def test_one_process_folds_while_others_hold_the_lock_in_vain(
    store: FaissVectorStore, tmp_path: Path
) -> None:
    other = FaissVectorStore(path=tmp_path)
    assert other.count("places") == 300
    ids, vectors = rows_of(2)
    for each in (store, other):
        each.apply("places", ids=ids, vectors=vectors, removed=[], state=moment(2))
    with other.filling("places", moment(2)):
        assert store.fold("places") is False
        assert store.count("places") == 600
    assert store.fold("places") is True
    assert other.fold("places") is False  # there is a newer one already
    other.load("places", moment(2), lambda _: True)
    assert other._contents["places"].base.state == moment(2)
    assert other._contents["places"].delta.used == 0
    assert other.count("places") == 600
    other.close()


def test_a_process_takes_over_the_snapshot_of_another_and_keeps_what_is_newer(
    store: FaissVectorStore, tmp_path: Path
) -> None:
    other = FaissVectorStore(path=tmp_path)
    assert other.count("places") == 300
    for version in (2, 3, 4):
        ids, vectors = rows_of(version)
        gone = rows_of(1)[0][: 10 * version].tolist()
        for each in (store, other) if version < 4 else (other,):
            each.apply("places", ids=ids, vectors=vectors, removed=gone, state=moment(version))
        if version == 2:
            assert store.fold("places")
    # The row 2000 came with version 2 and got another vector in version 5.
    replaced = rows_of(5)[1][:1]
    other.apply("places", ids=np.array([2_000]), vectors=replaced, removed=[], state=moment(5))
    before = other.search("places", rows_of(2)[1][:7], 2_000)
    other.load("places", moment(5), lambda _: True)
    content = other._contents["places"]
    assert (content.base.state, content.state) == (moment(2), moment(5))
    assert other.search("places", rows_of(2)[1][:7], 2_000) == before
    assert other.fold("places")
    assert other.search("places", rows_of(2)[1][:7], 2_000) == before
    other.close()


def test_a_process_far_behind_jumps_to_the_newest_snapshot(
    store: FaissVectorStore, tmp_path: Path
) -> None:
    other = FaissVectorStore(path=tmp_path)
    assert other.state("places") == moment(1)
    for version in range(2, 6):
        advance(store, version)
    other.load("places", moment(9), lambda state: state.version != 5)
    assert other.state("places") == moment(1)
    advance(store, 6)
    other.load("places", moment(9), lambda _: True)
    assert other.state("places") == moment(6)
    assert find_problem(other) == ""
    other.close()


def test_an_unknown_own_history_is_left_for_a_known_snapshot(
    store: FaissVectorStore, tmp_path: Path
) -> None:
    other = FaissVectorStore(path=tmp_path)
    assert other.state("places") == moment(1)
    ids, vectors = rows_of(2)
    other.apply("places", ids=ids, vectors=vectors, removed=[], state=moment(2, "rolled back"))
    advance(store, 2)
    other.load("places", moment(2), lambda state: state.stamp == "s")
    assert other.state("places") == moment(2)
    assert find_problem(other) == ""
    other.close()


def test_a_writer_that_waits_in_vain_serves_from_files_that_nobody_finds(
    store: FaissVectorStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django_obc_ai.backends.vector_stores.faiss._FILL_SECONDS", 0.1)
    other = FaissVectorStore(path=tmp_path)
    with store.filling("places", moment(1)):
        fill(other, 7)
    assert find_problem(other) == ""
    assert [each.name.split("-")[1] for each in snapshots(tmp_path)] == [f"{1:020d}"]
    advance(other, 8)
    assert other._contents["places"].base.state == moment(8)
    other.close()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_searches_changes_and_folds_even_while_its_parent_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django_obc_ai.backends.vector_stores._scan._BYTES_PER_THREAD", 1_000)
    store = FaissVectorStore(path=tmp_path)
    fill(store, 1)
    assert find_problem(store) == ""
    is_locked, may_end = threading.Event(), threading.Event()

    def hold() -> None:
        """Hold all of the store's locks, as a fold and a change beside the fork would."""
        with store.filling("places", moment(1)), store._lock:
            is_locked.set()
            may_end.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    is_locked.wait(30)
    child = os.fork()
    if child == 0:
        try:
            ids, vectors = rows_of(2)
            gone = rows_of(1)[0].tolist()
            store.apply("places", ids=ids, vectors=vectors, removed=gone, state=moment(2))
            is_right = find_problem(store) == "" and not store.fold("places")
            while not may_end.is_set() and os.getppid() and not (tmp_path / "go").exists():
                time.sleep(0.01)
            os._exit(0 if is_right and store.fold("places") else 3)
        except BaseException:
            os._exit(4)
    time.sleep(0.2)
    may_end.set()
    thread.join()
    (tmp_path / "go").touch()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    fresh = FaissVectorStore(path=tmp_path)
    assert fresh.state("places") == moment(2)
    assert find_problem(store) == ""
    fresh.close()
    store.close()
