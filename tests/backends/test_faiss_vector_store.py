"""The FAISS store: the contract, and equality with a dictionary and with a float64 ranking."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.test import SimpleTestCase, override_settings
from hypothesis import given, settings
from hypothesis import strategies as st

from django_obc_ai.backends.snapshots import stores
from django_obc_ai.backends.snapshots.folders import folder_of
from django_obc_ai.backends.vector_stores import BaseVectorStore, _scan, vector_stores
from django_obc_ai.backends.vector_stores.faiss import FaissVectorStore
from django_obc_ai.backends.vector_stores.numpy import NumpyVectorStore
from django_obc_ai.exceptions import ConfigurationError, IndexNotReadyError
from django_obc_ai.testing import VectorStoreContract
from tests.backends.test_numpy_vector_store import STEP, UNITS, arrays, batches, best, moment
from tests.extras import requires

pytestmark = requires("faiss")


@requires("faiss")
class FaissVectorStoreTests(VectorStoreContract, SimpleTestCase):
    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def make_store(self) -> BaseVectorStore:
        store = FaissVectorStore(path=self.folder)
        self.addCleanup(store.close)
        return store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FaissVectorStore]:
    store = FaissVectorStore(path=tmp_path)
    yield store
    store.close()


def unit(rows: Any) -> Any:
    rows = np.asarray(rows, dtype=np.float64)
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def ranked(ids: Any, vectors: Any, query: Any, k: int) -> list[tuple[int, float]]:
    """The k nearest by products summed in float64 and rounded once, ties by rising id."""
    scores = np.array([float(np.dot(row.astype("f8"), query.astype("f8"))) for row in vectors])
    rounded = scores.astype(np.float32)
    order = np.lexsort((ids, -rounded))[:k]
    return [(int(ids[i]), float(np.clip(rounded[i], -1, 1))) for i in order]


def hits(store: BaseVectorStore, query: Any, k: int, allowed: Any = None) -> Any:
    return [(hit.id, hit.score) for hit in store.search("places", query[None, :], k, allowed)[0]]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(STEP, st.just(("fold", 0, 0)), st.just(("reopen", 0, 0))), max_size=20))
def test_any_sequence_of_changes_folds_and_restarts_equals_a_dictionary(
    steps: list[tuple[str, Any, Any]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = FaissVectorStore(path=folder)
        store.reset("places", dimension=4, batches=[], state=moment(0))
        model: dict[int, int] = {}
        for version, (kind, first, second) in enumerate(steps, start=1):
            if kind == "apply":
                ids, vectors = arrays(first)
                store.apply(
                    "places", ids=ids, vectors=vectors, removed=second, state=moment(version)
                )
                model.update(first)
                model = {number: row for number, row in model.items() if number not in second}
            elif kind == "reset":
                store.reset(
                    "places", dimension=4, batches=batches(first, second), state=moment(version)
                )
                model = dict(first)
            elif kind == "fold":
                store.fold("places")
            elif kind == "reopen":
                store.fold("places")  # what is in memory alone is read from the database again
                store.close()
                store = FaissVectorStore(path=folder)
            else:
                k, allowed = (second, None) if kind == "search" else (7, second)
                kept = {n: row for n, row in model.items() if allowed is None or n in allowed}
                assert hits(store, UNITS[first], k, allowed) == best(kept, UNITS[first], k)
            assert store.count("places") == len(model)
        for query in UNITS[:6]:
            assert hits(store, query, 50) == best(model, query, 50)
        store.close()


def hard_vectors(kind: str) -> Any:
    """5,000 vectors whose nearest ones float16, or float32 in another order, cannot tell apart."""
    rng = np.random.default_rng(7)
    if kind == "spread":
        return unit(rng.normal(size=(5_000, 48)))
    centre = rng.normal(size=48)
    if kind == "copies":
        return np.repeat(unit(centre + 0.1 * rng.normal(size=(50, 48))), 100, axis=0)
    if kind == "mixed":  # 40 near ones among 4,960 far ones, and zero rows
        near = unit(centre + 1e-7 * rng.normal(size=(40, 48)))
        return np.vstack([near, unit(rng.normal(size=(4_900, 48))), np.zeros((60, 48), "f4")])
    return unit(centre + 1e-6 * rng.normal(size=(5_000, 48)))


@pytest.mark.parametrize("kind", ["spread", "mixed", "copies", "close"])
@pytest.mark.parametrize("threads", [1, 3])
def test_ids_order_and_scores_equal_a_float64_ranking(
    kind: str, threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_scan, "_BYTES_PER_THREAD", 1_000)
    vectors = hard_vectors(kind)
    ids = np.random.default_rng(8).permutation(len(vectors)) + 1
    store, other = FaissVectorStore(path=tmp_path, threads=threads), NumpyVectorStore()
    rng = np.random.default_rng(9)
    queries = unit(vectors[:6] + 1e-3 * rng.normal(size=(6, 48)))
    allowed = {"half": ids[::2], "few": ids[::50]}
    for each in (store, other):
        each.reset("places", dimension=48, batches=[(ids, vectors)], state=moment(1))
    for query in queries:
        assert hits(store, query, 10) == ranked(ids, vectors, query, 10)
        assert hits(store, query, 200) == hits(other, query, 200)
        for some in allowed.values():
            kept = np.isin(ids, some)
            wanted = ranked(ids[kept], vectors[kept], query, 10)
            assert hits(store, query, 10, some) == wanted
            assert hits(other, query, 10, some) == wanted
    together = store.search("places", queries, 10)
    assert together == [store.search("places", query[None, :], 10)[0] for query in queries]
    assert together == other.search("places", queries, 10)
    store.close()


def test_the_halves_decide_where_they_can_and_all_rows_are_compared_where_not(
    store: FaissVectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[int] = []
    original = _scan._all_compared

    def noting(snapshot: Any, queries: Any, k: int, **rest: Any) -> Any:
        compared.append(k)
        return original(snapshot, queries, k, **rest)

    monkeypatch.setattr(_scan, "_all_compared", noting)
    for kind, expected in (("spread", []), ("close", [5])):
        vectors = hard_vectors(kind)
        ids = np.arange(len(vectors))
        store.reset("places", dimension=48, batches=[(ids, vectors)], state=moment(1))
        assert hits(store, vectors[17], 5) == ranked(ids, vectors, vectors[17], 5)
        assert compared == expected


def test_vectors_beyond_float16_and_lengths_beyond_one_are_ranked_exactly(
    store: FaissVectorStore,
) -> None:
    vectors = np.random.default_rng(3).normal(size=(3_000, 16)).astype(np.float32)
    vectors[5] *= 1e6
    ids = np.arange(3_000)
    store.reset("places", dimension=16, batches=[(ids, vectors)], state=moment(1))
    query = vectors[9] / 50
    assert hits(store, query, 9) == ranked(ids, vectors, query, 9)


def test_folding_in_the_background_begins_by_itself(
    store: FaissVectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "_FOLD_ROWS", (10, 20))
    store.reset("places", dimension=4, batches=[arrays({1: 0})], state=moment(1))
    for version in range(2, 40):
        ids, vectors = arrays({version: version % 20})
        store.apply("places", ids=ids, vectors=vectors, removed=[], state=moment(version))
    for thread in list(store._folds.values()):
        thread.join()
    assert store._contents["places"].base.state.version > 10
    assert store.count("places") == 39
    (snapshot,) = Path(store.path or "").glob("*/*/snapshot-*")
    assert int(snapshot.name.split("-")[1]) == store._contents["places"].base.state.version


def test_nothing_can_write_to_what_is_mapped(store: FaissVectorStore) -> None:
    store.reset("places", dimension=4, batches=[arrays({1: 0, 2: 1})], state=moment(1))
    base = store._contents["places"].base
    files = {f: f.read_bytes() for f in base.folder.glob("*.[ifv][0-9]*")}
    for array in (base.ids, base.vectors, base.halves):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.flags.writeable = True
    store.apply("places", ids=np.array([1, 9]), vectors=UNITS[3:5], removed=[2], state=moment(2))
    hits(store, UNITS[0], 3)
    assert files == {f: f.read_bytes() for f in files}


@pytest.mark.parametrize(
    "name", ["../../escape", "/etc/passwd", "..", ".", "", "a/b", "nul\x00", "Ünïcode ✓", "x" * 300]
)
def test_no_name_of_an_index_leads_out_of_the_folder(name: str, tmp_path: Path) -> None:
    store = FaissVectorStore(path=tmp_path / "inner")
    store.reset(name, dimension=4, batches=[arrays({1: 0})], state=moment(1))
    assert [each.name for each in tmp_path.iterdir()] == ["inner"]
    assert folder_of(tmp_path / "inner", name).parent == tmp_path / "inner"
    store.close()
    assert store.count(name) == 1
    store.drop(name)
    assert FaissVectorStore(path=tmp_path / "inner").count(name) == 0


def test_names_that_read_alike_do_not_share_a_folder(store: FaissVectorStore) -> None:
    store.reset("a b", dimension=4, batches=[arrays({1: 0})], state=moment(1))
    store.reset("a/b", dimension=4, batches=[arrays({1: 0, 2: 1})], state=moment(1))
    store.close()
    assert (store.count("a b"), store.count("a/b")) == (1, 2)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_that_cannot_be_written_is_an_error_that_says_so(tmp_path: Path) -> None:
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    store = FaissVectorStore(path=tmp_path / "inner")
    with pytest.raises(IndexNotReadyError, match="cannot write the index 'places'"):
        store.reset("places", dimension=4, batches=[], state=moment(1))


def test_a_path_that_is_a_file_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    store = FaissVectorStore(path=tmp_path / "file")
    with pytest.raises(IndexNotReadyError, match="cannot write the index 'places'"):
        store.reset("places", dimension=4, batches=[], state=moment(1))
    with (
        pytest.raises(IndexNotReadyError, match="cannot write"),
        store.filling("places", moment(1)),
    ):
        pass


def test_the_default_path_is_below_base_dir(tmp_path: Path) -> None:
    with override_settings(BASE_DIR=tmp_path):
        assert FaissVectorStore().path == str(tmp_path / "var" / "vectors")
    with override_settings(BASE_DIR=None), pytest.raises(ConfigurationError, match="no folder"):
        FaissVectorStore()
    assert list(tmp_path.iterdir()) == []


def test_options_that_cannot_be_are_refused(tmp_path: Path) -> None:
    entry = {
        "BACKEND": "django_obc_ai.backends.vector_stores.faiss.FaissVectorStore",
        "OPTIONS": {"path": tmp_path, "threads": 0},
    }
    with override_settings(OBC_AI={"VECTOR_STORES": {"default": entry}}):
        with pytest.raises(ConfigurationError, match="threads must be at least 1"):
            vector_stores["default"]
