"""Processes that share the files of words: killed, waiting, far behind, forked."""

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

from django_obc_ai.backends.lexical_stores.bm25 import BM25LexicalStore
from tests.backends.words_in_process import (
    QUERIES,
    advance,
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


def process(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.backends.words_in_process", *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path.cwd()
    )


def test_a_writer_killed_at_any_point_leaves_a_usable_folder(tmp_path: Path) -> None:
    chance = random.Random(4)
    newest = 0
    for _ in range(12):
        writer = process("fold", str(tmp_path))
        assert writer.stdout is not None and writer.stderr is not None
        assert writer.stdout.readline() == "ready\n", writer.stderr.read()
        time.sleep(chance.uniform(0, 0.08))
        writer.kill()
        writer.communicate()
        store = BM25LexicalStore(path=tmp_path)
        held = store.state("places")
        assert held is not None and held.version >= newest
        newest = held.version
        assert find_problem(store) == ""
        store.close()
    assert aside(tmp_path) == []
    store = BM25LexicalStore(path=tmp_path)
    store.state("places")
    advance(store, newest + 1)
    # What the killed ones left is gone after the next one has written.
    (folder,) = {each.parent for each in snapshots(tmp_path)}
    assert sorted(each.name.split("-")[0] for each in folder.iterdir()) == ["lock", "snapshot"]
    store.close()


def test_readers_in_4_processes_under_continuous_rebuild_see_no_error_and_no_torn_state(
    store: BM25LexicalStore, tmp_path: Path
) -> None:
    writer = process("fold", str(tmp_path))
    readers = [process("read", str(tmp_path), "3") for _ in range(4)]
    rounds = versions = 0
    for reader in readers:
        out, err = reader.communicate(timeout=120)
        assert reader.returncode == 0, err
        rounds, versions = rounds + int(out.split()[0]), max(versions, int(out.split()[1]))
    assert writer.poll() is None, writer.communicate()
    writer.kill()
    writer.communicate()
    assert rounds >= 4
    assert versions >= 2  # there was something to see
    assert aside(tmp_path) == []


def test_one_process_folds_while_others_hold_the_lock_in_vain(
    store: BM25LexicalStore, tmp_path: Path
) -> None:
    other = BM25LexicalStore(path=tmp_path)
    assert other.count("places") == 300
    for each in (store, other):
        change(each, 2)
    with other.filling("places", moment(2)):
        assert store.fold("places") is False
        assert store.count("places") == 600
    assert store.fold("places") is True
    assert other.fold("places") is False  # there is a newer one already
    other.load("places", moment(2), lambda _: True)
    content = other._contents["places"]
    assert content.base is not None
    assert (content.base.state, content.changes, content.count) == (moment(2), 0, 600)
    other.close()


def test_a_process_takes_over_the_snapshot_of_another_and_keeps_what_is_newer(
    store: BM25LexicalStore, tmp_path: Path
) -> None:
    other = BM25LexicalStore(path=tmp_path)
    assert other.count("places") == 300
    for version in (2, 3, 4):
        gone = rows_of(1)[0][: 10 * version].tolist()
        for each in (store, other) if version < 4 else (other,):
            change(each, version, gone=gone)
        if version == 2:
            assert store.fold("places")
    # The row 2000 came with version 2 and got another text in version 5.
    replaced = {"ids": np.array([2_000]), "texts": ["lane lane"], "removed": [3_007]}
    other.apply("places", **replaced, state=moment(5))
    before = other.search("places", QUERIES, 2_000)
    other.load("places", moment(5), lambda _: True)
    content = other._contents["places"]
    assert content.base is not None
    assert (content.base.state, content.state) == (moment(2), moment(5))
    assert other.search("places", QUERIES, 2_000) == before
    assert other.fold("places")
    assert other._contents["places"].changes == 0
    assert other.search("places", QUERIES, 2_000) == before
    other.close()


def test_a_process_far_behind_jumps_to_the_newest_snapshot_that_is_known(
    store: BM25LexicalStore, tmp_path: Path
) -> None:
    other = BM25LexicalStore(path=tmp_path)
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
    store: BM25LexicalStore, tmp_path: Path
) -> None:
    other = BM25LexicalStore(path=tmp_path)
    assert other.state("places") == moment(1)
    ids, texts = rows_of(7)
    other.apply("places", ids=ids, texts=texts, removed=[], state=moment(2, "rolled back"))
    advance(store, 2)
    other.load("places", moment(2), lambda state: state.stamp == "s")
    assert other.state("places") == moment(2)
    assert find_problem(other) == ""
    other.close()


def test_a_writer_that_waits_in_vain_serves_from_files_that_nobody_finds(
    store: BM25LexicalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django_obc_ai.backends.snapshots.stores._FILL_SECONDS", 0.1)
    other = BM25LexicalStore(path=tmp_path)
    is_held, may_end = threading.Event(), threading.Event()

    def hold() -> None:
        with store.filling("places", moment(1)):
            is_held.set()
            may_end.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    is_held.wait(30)
    fill(other, 7)
    may_end.set()
    thread.join()
    assert find_problem(other) == ""
    assert [each.name.split("-")[1] for each in snapshots(tmp_path)] == [f"{1:020d}"]
    other.close()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("is_on_disk", [True, False])
def test_a_forked_child_searches_and_changes_even_while_its_parent_does(
    is_on_disk: bool, tmp_path: Path
) -> None:
    store = BM25LexicalStore(path=tmp_path if is_on_disk else None)
    fill(store, 1)
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
            change(store, 2, gone=rows_of(1)[0].tolist())
            is_right = find_problem(store) == "" and not store.fold("places")
            (tmp_path / "tried").touch()
            while os.getppid() and not (tmp_path / "go").exists():
                time.sleep(0.01)
            os._exit(0 if is_right and store.fold("places") is is_on_disk else 3)
        except BaseException:
            os._exit(4)
    while not (tmp_path / "tried").exists() and not os.waitpid(child, os.WNOHANG)[0]:
        time.sleep(0.01)
    may_end.set()
    thread.join()
    (tmp_path / "go").touch()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert find_problem(store) == ""
    assert BM25LexicalStore(path=tmp_path).state("places") == (moment(2) if is_on_disk else None)
    store.close()
