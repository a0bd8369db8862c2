"""The files of approximate indexes: who builds them, who shares them, damage, kills, forks."""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from django_obc_ai.backends.vector_stores import _building, _neighbours, _pairings
from django_obc_ai.backends.vector_stores.faiss import FaissVectorStore
from tests.backends.faiss_in_process import (
    DIMENSION,
    advance,
    fill,
    find_approximate_problem,
    graph,
    moment,
    rows_of,
)
from tests.backends.test_faiss_files import aside, snapshots
from tests.backends.test_faiss_processes import process
from tests.extras import requires

pytestmark = requires("faiss")


@pytest.fixture(autouse=True)
def _is_used_for_few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_neighbours, "_ROWS_PER_CANDIDATE", 0)
    monkeypatch.setattr(_neighbours, "_ROWS_PER_CODE", 0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FaissVectorStore]:
    store = graph(str(tmp_path))
    fill(store, 1)
    assert store.build_approximate("places") == "HNSW, M 8"
    yield store
    store.close()


def indexes(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*/neighbours-*"))


def waited(store: FaissVectorStore) -> FaissVectorStore:
    assert store._pairings is not None
    store._pairings.wait()
    return store


def asked(store: FaissVectorStore, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What FAISS is asked for from now on."""
    found: list[int] = []
    original = _neighbours.Neighbours.nearest

    def noting(self: Any, query: Any, wanted: int, effort: int) -> Any:
        found.append(wanted)
        return original(self, query, wanted, effort)

    monkeypatch.setattr(_neighbours.Neighbours, "nearest", noting)
    return found


# --- building ----------------------------------------------------------------------------------
def test_a_graph_shares_the_files_of_its_snapshot_and_holds_no_vectors(
    store: FaissVectorStore, tmp_path: Path
) -> None:
    (index,), (snapshot,) = indexes(tmp_path), snapshots(tmp_path)
    for name in ("vectors.f32", "ids.i64"):
        assert (index / name).samefile(snapshot / name)
    names = sorted(each.name for each in index.iterdir() if not each.name.startswith("verified"))
    assert names == ["ids.i64", "index.faiss", "manifest.json", "vectors.f32"]
    assert (index / "index.faiss").stat().st_size < 300 * DIMENSION * 4 + 2_000
    fold_of = store._contents["places"].base.folder
    advance(store, 2)
    assert not fold_of.exists()
    assert (index / "vectors.f32").exists()


def test_every_process_uses_what_one_has_built(
    store: FaissVectorStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[int] = []
    monkeypatch.setattr(_pairings, "build_neighbours", lambda *_, **__: built.append(1))
    other = graph(str(tmp_path))
    found = asked(other, monkeypatch)
    assert find_approximate_problem(other) == ""
    assert len(found) == 5
    assert other.build_approximate("places") == "HNSW, M 8"
    assert built == []
    other.close()


def test_a_process_that_searched_before_it_was_built_takes_it_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = graph(str(tmp_path))
    fill(store, 1)
    other = graph(str(tmp_path))
    monkeypatch.setattr(other._pairings, "_build_later", lambda *_: None)
    found = asked(other, monkeypatch)
    assert find_approximate_problem(other) == ""
    assert found == []
    assert store.build_approximate("places")
    assert find_approximate_problem(other) == ""
    assert len(found) == 5
    other.close()
    store.close()


def test_a_search_has_a_missing_one_built_in_the_background(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = graph(str(tmp_path))
    fill(store, 1)
    assert find_approximate_problem(store) == ""
    assert store.search("places", rows_of(1)[1][:1], 3) != []
    assert waited(store).approximate_kind("places") == "HNSW, M 8"
    (index,) = indexes(tmp_path)
    monkeypatch.setattr(_neighbours, "_STALE_ROWS", 10)
    advance(store, 2)  # all rows are new: it knows none of them
    assert find_approximate_problem(store) == ""
    waited(store)
    assert indexes(tmp_path) != [index]
    assert find_approximate_problem(store) == ""
    store.close()


def test_exact_searches_build_nothing(tmp_path: Path) -> None:
    store = graph(str(tmp_path))
    fill(store, 1)
    store.search("places", rows_of(1)[1][:2], 3)
    assert waited(store).approximate_kind("places") == ""
    assert indexes(tmp_path) == []
    store.close()


def test_other_options_build_another_and_replace_it(
    store: FaissVectorStore, tmp_path: Path
) -> None:
    store.close()
    other = graph(str(tmp_path), m=16)
    assert other.approximate_kind("places") == ""
    assert other.build_approximate("places") == "HNSW, M 16"
    (index,) = indexes(tmp_path)
    manifest = json.loads((index / "manifest.json").read_bytes().partition(b"\n")[0])
    assert manifest["built_with"] == {"kind": "hnsw", "m": 16, "ef_construction": 512}
    other.close()


def test_a_new_history_takes_it_away(store: FaissVectorStore, tmp_path: Path) -> None:
    fill(store, 3)
    assert indexes(tmp_path) == []
    assert store.approximate_kind("places") == ""
    assert find_approximate_problem(store) == ""
    assert waited(store).approximate_kind("places") == "HNSW, M 8"
    store.drop("places")
    assert indexes(tmp_path) == []


def test_a_build_whose_history_ended_meanwhile_is_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, other = graph(str(tmp_path)), graph(str(tmp_path))
    fill(store, 1)
    original = _building._publish

    def late(*arguments: Any) -> bool:
        monkeypatch.setattr(_building, "_publish", original)
        fill(other, 2)
        return original(*arguments)

    monkeypatch.setattr(_building, "_publish", late)
    assert store.build_approximate("places") == ""
    assert (indexes(tmp_path), list(tmp_path.glob("*/*/building-*"))) == ([], [])
    store.close()
    other.close()


def test_closing_ends_a_build_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_building, "_ROWS_PER_BLOCK", 1)
    store = graph(str(tmp_path))
    fill(store, 1)
    has_begun, may_go_on = threading.Event(), threading.Event()
    pairings: Any = store._pairings
    original = pairings._check

    def slow() -> None:
        has_begun.set()
        may_go_on.wait(30)
        original()

    monkeypatch.setattr(pairings, "_check", slow)
    assert find_approximate_problem(store) == ""
    assert has_begun.wait(30)
    threading.Timer(0.1, may_go_on.set).start()
    store.close()
    assert list(tmp_path.glob("*/*/building-*")) == []
    assert indexes(tmp_path) == []


def test_a_builder_killed_at_any_point_leaves_a_usable_folder(tmp_path: Path) -> None:
    store = graph(str(tmp_path))
    fill(store, 1)
    store.close()
    chance = random.Random(4)
    for _ in range(5):
        builder = process("build", str(tmp_path))
        assert builder.stdout is not None and builder.stderr is not None
        assert builder.stdout.readline() == "ready\n", builder.stderr.read()
        time.sleep(chance.uniform(0, 0.15))
        builder.kill()
        builder.communicate()
        store = graph(str(tmp_path))
        assert find_approximate_problem(store) == ""
        waited(store).close()
    assert aside(tmp_path) == []
    store = graph(str(tmp_path))
    assert store.build_approximate("places")
    advance(store, 10_000)
    (folder,) = {each.parent for each in snapshots(tmp_path)}
    names = sorted(each.name.split("-")[0] for each in folder.iterdir())
    assert names == ["building.lock", "lock", "neighbours", "snapshot"]
    store.close()


# --- changes and forks --------------------------------------------------------------------------
def test_what_the_index_does_not_know_is_found_and_what_is_gone_is_not(
    store: FaissVectorStore,
) -> None:
    ids, vectors = rows_of(2)
    gone = rows_of(1)[0][:250].tolist()
    between = np.array([500])  # before those that it knows
    store.apply("places", ids=ids, vectors=vectors, removed=gone, state=moment(2))
    store.apply("places", ids=between, vectors=vectors[:1], removed=[], state=moment(3))
    for _ in range(2):
        for query in (vectors[0], rows_of(1)[1][280]):
            exact = store.search("places", query[None], 20)
            assert store.search("places", query[None], 20, is_exact=False) == exact
            some = np.concatenate([ids[::3], between, rows_of(1)[0]])
            exact = store.search("places", query[None], 20, some)
            assert store.search("places", query[None], 20, some, is_exact=False) == exact
        assert store.fold("places") or _
    held = store._pairings and store._pairings._held["places"]
    assert held is not None
    assert (held.known, held.others.tolist()) == (50, [0, 51, 52, 53, 54, 55])
    assert held.later is not None


def test_an_id_with_another_vector_ends_what_was_built(
    store: FaissVectorStore, tmp_path: Path
) -> None:
    query = rows_of(2)[1][:1]
    store.apply("places", ids=np.array([1_005]), vectors=query, removed=[], state=moment(2))
    for _ in range(2):
        assert store.search("places", query, 5, is_exact=False)[0][0].id == 1_005
        store.fold("places")
    assert waited(store).approximate_kind("places") == "HNSW, M 8"
    assert store.search("places", query, 5, is_exact=False)[0][0].id == 1_005
    assert aside(tmp_path) == []


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_searches_and_builds_after_its_parent_did(
    store: FaissVectorStore, tmp_path: Path
) -> None:
    assert find_approximate_problem(store) == ""
    child = os.fork()
    if child == 0:
        try:
            is_right = find_approximate_problem(store) == ""
            fill(store, 2)
            is_right = is_right and store.build_approximate("places") != ""
            os._exit(0 if is_right and find_approximate_problem(store) == "" else 3)
        except BaseException:
            os._exit(4)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert find_approximate_problem(store) == ""
