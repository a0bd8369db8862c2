"""Processes that share the files of the FAISS store: killed, waiting, far behind, forked."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from django_obc_ai.backends.vector_stores.faiss import FaissVectorStore
from tests.backends.faiss_in_process import advance, fill, find_problem, moment, rows_of
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
    monkeypatch.setattr("django_obc_ai.backends.snapshots.stores._FILL_SECONDS", 0.1)
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
