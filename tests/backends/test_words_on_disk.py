"""The BM25 store over files: the contract, and equality with a store in memory."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import TestCase

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from django_obc_ai.backends.lexical_stores import BaseLexicalStore, _segments
from django_obc_ai.backends.lexical_stores.bm25 import BM25LexicalStore
from django_obc_ai.backends.snapshots import stores
from django_obc_ai.exceptions import IndexNotReadyError
from django_obc_ai.testing import LexicalStoreContract
from tests.backends.words_in_process import (
    QUERIES,
    WORDS,
    advance,
    change,
    fill,
    find_problem,
    moment,
    rows_of,
    snapshots,
)


class TestBM25StoreOnDisk(LexicalStoreContract, TestCase):
    def make_store(self) -> BaseLexicalStore:
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        store = BM25LexicalStore(path=folder)
        self.addCleanup(store.close)
        return store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[BM25LexicalStore]:
    store = BM25LexicalStore(path=tmp_path)
    yield store
    store.close()


IDS = st.integers(0, 40)
TEXTS = st.lists(st.sampled_from([*WORDS, "\u00f1", "mile 7"]), max_size=5).map(" ".join)
ROWS = st.dictionaries(IDS, TEXTS, max_size=12)
STEP = st.one_of(
    st.tuples(st.just("apply"), ROWS, st.lists(IDS, max_size=14)),
    st.tuples(st.just("apply"), ROWS, st.lists(IDS, max_size=14)),
    st.tuples(st.just("reset"), ROWS, st.integers(1, 5)),
    st.tuples(st.sampled_from(["fold", "reopen", "load"]), st.integers(0, 1), st.none()),
)


def arrays(rows: dict[int, str]) -> tuple[Any, list[str]]:
    return np.fromiter(rows, dtype=np.int64, count=len(rows)), list(rows.values())


def batches(rows: dict[int, str], size: int) -> Iterator[tuple[Any, list[str]]]:
    items = list(rows.items())
    for start in range(0, len(items), size):
        yield arrays(dict(items[start : start + size]))


def found(store: BaseLexicalStore) -> Any:
    queries = [*QUERIES, "nino n", "7", "nothing"]
    few, allowed = store.search("places", queries, 3), list(range(0, 40, 3))
    return few, store.search("places", queries, 100), store.search("places", queries, 9, allowed)


@settings(max_examples=50, deadline=None)
@example([("reset", {0: "river", 1: ""}, 1), ("apply", {}, [0])], 1)  # no word counts then
@given(st.lists(STEP, max_size=25), st.integers(1, 1_000))
def test_any_sequence_of_changes_folds_and_restarts_equals_a_store_in_memory(
    steps: list[tuple[str, Any, Any]], pairs: int
) -> None:
    """Two stores on one path, fed alike, of which either folds, restarts or takes the other's."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(_segments, "_PAIRS_PER_BLOCK", pairs)
        both = [BM25LexicalStore(path=folder), BM25LexicalStore(path=folder)]
        plain = BM25LexicalStore()
        for each in (*both, plain):
            each.reset("places", batches=[], state=moment(0))
        for version, (kind, first, second) in enumerate(steps, start=1):
            if kind == "apply":
                ids, texts = arrays(first)
                given_ = {"ids": ids, "texts": texts, "removed": second, "state": moment(version)}
                for each in (*both, plain):
                    each.apply("places", **given_)
            elif kind == "reset":
                for each in (*both, plain):
                    rows = batches(first, second)
                    each.reset("places", batches=rows, state=moment(version))
            elif kind == "fold":
                both[first].fold("places")
            elif kind == "load":
                held = both[first].state("places")
                assert held is not None
                both[first].load("places", held, lambda _: True)
            elif both[first].fold("places") or not both[first]._contents["places"].changes:
                both[first].close()  # what is in memory alone is read from the database again
                both[first] = BM25LexicalStore(path=folder)
            for each in both:
                assert each.count("places") == plain.count("places")
        for each in both:
            assert found(each) == found(plain)
            each.close()


def test_large_segments_are_merged_in_blocks_as_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [rows_of(version) for version in range(5)]
    whole = _segments.merge([_segments.build(*part, 1) for part in parts])
    ids = np.concatenate([part[0] for part in parts])
    texts = [text for part in parts for text in part[1]]
    monkeypatch.setattr(_segments, "_PAIRS_PER_BLOCK", 7)
    blocks = _segments.merge([_segments.build(*part, 1) for part in parts])
    for other in (blocks, _segments.build(ids, texts, 1)):
        for name in ("ids", "lengths", "words", "starts", "rows", "counts", "is_alive"):
            assert np.array_equal(getattr(whole, name), getattr(other, name))
            assert getattr(whole, name).dtype == getattr(other, name).dtype


def test_a_store_without_a_path_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stores, "_FOLD_ROWS", (1, 1))
    store = BM25LexicalStore()
    with store.filling("places", moment(1)):
        fill(store, 1)
    store.load("places", moment(1), lambda _: True)
    advance(store, 2)
    assert (store.path, store.fold("places"), find_problem(store)) == (None, False, "")
    store.drop("places")
    assert store.state("places") is None
    assert list(tmp_path.iterdir()) == []


def test_a_view_of_a_transaction_is_in_memory_and_scores_alike(tmp_path: Path) -> None:
    store = BM25LexicalStore(path=tmp_path, k1=0.4, b=0.1)
    fill(store, 1)
    empty = store.make_empty()
    assert (empty.path, empty.state("places")) == (None, None)
    fill(empty, 1)
    assert empty.search("places", QUERIES, 10) == store.search("places", QUERIES, 10)
    store.close()


def test_many_changes_are_folded_beside_searches_and_others_take_that_over(
    store: BM25LexicalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "_FOLD_ROWS", (500, 500))
    fill(store, 1)
    other = BM25LexicalStore(path=tmp_path)
    assert other.count("places") == 300
    for version in (2, 3):
        change(store, version)
        for thread in list(store._folds.values()):
            thread.join()
    content = store._contents["places"]
    assert content.base is not None
    assert (content.base.state, content.changes) == (moment(3), 0)
    assert len(snapshots(tmp_path)) == 1
    other.load("places", moment(3), lambda _: True)
    assert other.search("places", QUERIES, 99) == store.search("places", QUERIES, 99)
    other.close()


def test_files_that_cannot_be_written_wait_and_searches_go_on(
    store: BM25LexicalStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(stores, "_FOLD_ROWS", (100, 100))
    fill(store, 1)
    folder = snapshots(tmp_path)[0].parent
    shutil.rmtree(folder)
    folder.write_text("in the way")
    change(store, 2, gone=rows_of(1)[0].tolist())
    for thread in list(store._folds.values()):
        thread.join()
    assert "The next files of the words of the index 'places' were not written." in caplog.text
    assert find_problem(store) == ""


def test_closing_does_not_wait_for_files_that_are_just_written(
    store: BM25LexicalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "_FOLD_ROWS", (100, 100))
    monkeypatch.setattr(_segments, "_PAIRS_PER_BLOCK", 1)
    many = [f"word{number}" for number in range(5_000)]
    store.reset("places", batches=[(np.arange(5_000), many)], state=moment(1))
    change(store, 2)
    assert store._folds != {}
    store.close()
    (snapshot,) = snapshots(tmp_path)
    assert int(snapshot.name.split("-")[1]) == 1
    assert [each.name for each in snapshot.parent.glob("new-*")] == []
    assert store.state("places") == moment(1)


def test_words_and_vectors_may_have_one_path(store: BM25LexicalStore, tmp_path: Path) -> None:
    fill(store, 1)
    (snapshot,) = snapshots(tmp_path)
    assert snapshot.parent.name == "words"
    assert list(tmp_path.glob("*/*/snapshot-*")) == []
    store.drop("places")
    assert [each.name for each in snapshot.parent.iterdir()] == ["lock"]
    assert BM25LexicalStore(path=tmp_path).state("places") is None


def test_nothing_can_write_to_what_is_mapped(store: BM25LexicalStore) -> None:
    fill(store, 1)
    base = store._contents["places"].base
    assert base is not None
    for name in ("ids", "lengths", "words", "starts", "rows", "counts"):
        array = getattr(base.segment, name)
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.flags.writeable = True


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_that_cannot_be_written_is_an_error_that_says_so(tmp_path: Path) -> None:
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(IndexNotReadyError, match="cannot write the index 'places'"):
        fill(BM25LexicalStore(path=tmp_path / "inner"), 1)


def test_a_path_that_is_a_file_is_an_error_that_names_the_option(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    store = BM25LexicalStore(path=tmp_path / "file")
    option = r"lexical store .* 'places': .*\['LEXICAL_STORES'\]\[…\]\['OPTIONS'\]\['path'\]"
    with pytest.raises(IndexNotReadyError, match=option):
        fill(store, 1)
    with pytest.raises(IndexNotReadyError, match=option), store.filling("places", moment(1)):
        pass
