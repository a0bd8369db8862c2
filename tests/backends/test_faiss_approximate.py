"""Approximate search of the FAISS store: the contract, filters, changes, options."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.test import SimpleTestCase, override_settings
from hypothesis import given, settings
from hypothesis import strategies as st

from django_obc_ai.backends.vector_stores import BaseVectorStore, _neighbours, vector_stores
from django_obc_ai.backends.vector_stores._exact import exact_scores
from django_obc_ai.backends.vector_stores.faiss import FaissVectorStore
from django_obc_ai.exceptions import ConfigurationError
from django_obc_ai.testing import VectorStoreContract
from django_obc_ai.types import SearchHit
from tests.backends.test_numpy_vector_store import moment
from tests.extras import requires

pytestmark = requires("faiss")
GRAPH = {"kind": "hnsw", "above": 1, "m": 16, "ef_construction": 64, "ef_search": 64}
LISTS = {"kind": "ivf_sq8", "above": 1, "probes": 16}


class ApproximateStore(FaissVectorStore):
    """One that always searches approximately, with an index of what it holds."""

    asked: dict[str, Any] = GRAPH

    def __init__(self, *, path: Any) -> None:
        super().__init__(path=path, approximate=self.asked)

    def search(
        self,
        index: str,
        vectors: Any,
        k: int,
        allowed_ids: Sequence[int] | Any = None,
        *,
        is_exact: bool = True,
    ) -> list[list[SearchHit]]:
        if self.state(index) is not None and not self.approximate_kind(index):
            self.build_approximate(index)
        return super().search(index, vectors, k, allowed_ids, is_exact=False)


class ListsStore(ApproximateStore):
    asked = LISTS


class _ApproximateContract(VectorStoreContract):
    store_class: type[ApproximateStore]

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        patch = pytest.MonkeyPatch()
        patch.setattr(_neighbours, "_ROWS_PER_CANDIDATE", 0)  # small ones are searched exactly
        patch.setattr(_neighbours, "_ROWS_PER_CODE", 0)
        self.addCleanup(patch.undo)

    def make_store(self) -> BaseVectorStore:
        store = self.store_class(path=self.folder)
        self.addCleanup(store.close)
        return store


@requires("faiss")
class GraphContractTests(_ApproximateContract, SimpleTestCase):
    store_class = ApproximateStore


@requires("faiss")
class ListsContractTests(_ApproximateContract, SimpleTestCase):
    store_class = ListsStore


def clustered(count: int, dimension: int = 32, seed: int = 5) -> Any:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(max(1, count // 100), dimension))
    rows = centres[rng.integers(0, len(centres), count)]
    rows = rows + 0.4 * rng.normal(size=rows.shape)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def near_duplicates(count: int, dimension: int = 32, seed: int = 5) -> Any:
    """Thousands of almost the same, in a few heaps: what graphs find hard."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(8, dimension))[rng.integers(0, 8, count)]
    rows = rows + 0.01 * rng.normal(size=rows.shape)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


class Filled:
    """A store with a graph or lists, and the vectors that it must hold, by id."""

    def __init__(self, folder: Path, vectors: Any, approximate: dict[str, Any] = GRAPH) -> None:
        self.store = FaissVectorStore(path=folder, approximate=approximate)
        self.ids = np.arange(1, len(vectors) + 1) * 3
        self.vectors = vectors
        self.store.reset(
            "places",
            dimension=vectors.shape[1],
            batches=[(self.ids, vectors)],
            state=moment(1),
        )
        self.version = 1
        assert self.store.build_approximate("places")

    def change(self, removed: Any, added: Any) -> None:
        self.version += 1
        fresh = np.arange(len(added)) + int(self.ids.max()) + 1
        self.store.apply(
            "places",
            ids=fresh,
            vectors=added,
            removed=np.asarray(removed).tolist(),
            state=moment(self.version),
        )
        kept = ~np.isin(self.ids, removed)
        self.ids = np.concatenate([self.ids[kept], fresh])
        self.vectors = np.vstack([self.vectors[kept], added])

    def search(self, query: Any, k: int, allowed: Any = None) -> list[SearchHit]:
        return self.store.search("places", query[None, :], k, allowed, is_exact=False)[0]

    def recall(self, query: Any, k: int, allowed: Any = None) -> float:
        """Check everything but which rows were found, and return the share of the nearest."""
        found = self.search(query, k, allowed)
        kept = np.ones(len(self.ids), bool) if allowed is None else np.isin(self.ids, allowed)
        ids, scores = self.ids[kept], exact_scores(self.vectors[kept], query)
        assert len(found) == min(k, len(ids))
        assert found == sorted(found, key=lambda hit: (-hit.score, hit.id))
        assert len({hit.id for hit in found}) == len(found)
        true = dict(zip(ids.tolist(), np.clip(scores, -1, 1).tolist(), strict=True))
        assert all(true[hit.id] == hit.score for hit in found)  # a KeyError: not allowed
        if not found:
            return 1.0
        kth = float(np.sort(np.clip(scores, -1, 1))[-len(found)])
        return sum(hit.score >= kth for hit in found) / len(found)


@pytest.fixture(scope="module", params=[GRAPH, LISTS], ids=["graph", "lists"])
def filled(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    """10,000 chunks; some were removed since, some came, some of these are folded."""
    made = Filled(tmp_path_factory.mktemp("store"), clustered(10_000), request.param)
    made.change(made.ids[::50], clustered(300, seed=6))
    assert made.store.fold("places")
    made.change(made.ids[5::200], clustered(100, seed=7))
    yield made
    made.store.close()


@settings(max_examples=60, deadline=None)
@given(
    share=st.sampled_from([1.0, 0.5, 0.2, 0.1, 0.03, 0.01, 0.001, 0.0001]),
    k=st.sampled_from([1, 10, 50]),
    seed=st.integers(0, 10_000),
    kind=st.sampled_from(["anywhere", "near", "far"]),
    is_free=st.booleans(),
)
def test_filters_of_all_selectivities_return_k_of_the_allowed_and_the_nearest_of_them(
    filled: Filled, share: float, k: int, seed: int, kind: str, is_free: bool
) -> None:
    rng = np.random.default_rng(seed)
    count = max(1, round(share * len(filled.ids)))
    shares = []
    with pytest.MonkeyPatch.context() as patch:
        if is_free:  # however few are allowed, the approximate index is asked first
            patch.setattr(_neighbours, "_ROWS_PER_CANDIDATE", 0)
            patch.setattr(_neighbours, "_ROWS_PER_CODE", 0)
        for row in rng.integers(0, len(filled.ids), 4):
            query = filled.vectors[row] + 0.05 * rng.normal(size=32).astype(np.float32)
            query /= np.linalg.norm(query)
            order = np.argsort(exact_scores(filled.vectors, query))
            rows = {
                "anywhere": rng.choice(len(order), count, replace=False),
                "near": order[-count:],
                "far": order[:count],
            }[kind]
            allowed = np.append(filled.ids[rows], [-1, 10**9])
            shares.append(filled.recall(query, k, allowed))
    assert np.mean(shares) >= 0.9


def test_searches_without_a_filter_find_the_stated_share(filled: Filled) -> None:
    queries = clustered(10_000)[::97]
    assert np.mean([filled.recall(query, 10) for query in queries]) >= 0.98


def test_more_than_are_held_and_none_allowed(filled: Filled) -> None:
    query = filled.vectors[0]
    assert len(filled.search(query, 20_000)) == len(filled.ids)
    assert filled.search(query, 5, []) == []
    assert filled.search(query, 5, [-4]) == []


def test_default_effort_loses_near_duplicates_and_more_effort_finds_them(tmp_path: Path) -> None:
    vectors = near_duplicates(8_000)
    weak = {**GRAPH, "m": 4, "ef_construction": 16, "ef_search": 8}
    recalls = []
    for options in (weak, {**weak, "ef_search": 512}):
        made = Filled(tmp_path, vectors, options)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_neighbours, "_ROWS_PER_CANDIDATE", 0)
            recalls.append(np.mean([made.recall(query, 10) for query in vectors[::200]]))
        made.store.close()
    assert recalls[0] < 0.9 < recalls[1]


def test_fewer_than_the_option_says_are_searched_exactly(tmp_path: Path) -> None:
    store = FaissVectorStore(path=tmp_path, approximate={**GRAPH, "above": 501})
    vectors = clustered(500)
    batches = [(np.arange(500), vectors)]
    store.reset("places", dimension=32, batches=batches, state=moment(1))
    assert store.build_approximate("places") == ""
    exact = store.search("places", vectors[:3], 10)
    assert store.search("places", vectors[:3], 10, is_exact=False) == exact
    fresh = clustered(1, seed=9)
    store.apply("places", ids=np.array([900]), vectors=fresh, removed=[], state=moment(2))
    assert store.build_approximate("places") == "HNSW, M 16"
    assert store.approximate_kind("places") == "HNSW, M 16"
    store.close()


def test_a_store_without_the_option_searches_exactly(tmp_path: Path) -> None:
    store = FaissVectorStore(path=tmp_path)
    vectors = clustered(500)
    store.reset("places", dimension=32, batches=[(np.arange(500), vectors)], state=moment(1))
    assert (store.build_approximate("places"), store.approximate_kind("places")) == ("", "")
    assert (store.approximate_settings, store.approximate_above) == ("", 0)
    exact = store.search("places", vectors[:3], 10)
    assert store.search("places", vectors[:3], 10, is_exact=False) == exact
    store.close()


def test_settings_name_what_a_recall_was_measured_with(tmp_path: Path) -> None:
    graph = FaissVectorStore(path=tmp_path, approximate={})
    assert graph.approximate_settings == "hnsw m=32 ef_construction=512 ef_search=256"
    assert graph.approximate_above == 200_000
    lists = FaissVectorStore(path=tmp_path, approximate={"kind": "ivf_sq8", "lists": None})
    assert lists.approximate_settings == "ivf_sq8 probes=256"


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("hnsw", "approximate must be a mapping"),
        ({"kind": "flat"}, r"approximate\['kind'\] must be one of hnsw, ivf_sq8"),
        ({"kind": ["hnsw"]}, r"approximate\['kind'\] must be one of"),
        ({"ef": 4}, "approximate has the unknown name 'ef'"),
        ({"ef_serch": 64}, "Did you mean 'ef_search'"),
        ({"kind": "ivf_sq8", "m": 32}, "'m', which kind … does not have"),
        ({"m": 3}, r"approximate\['m'\] must be a whole number from 4 to 128"),
        ({"m": True}, r"approximate\['m'\] must be a whole number"),
        ({"ef_search": "64"}, r"approximate\['ef_search'\] must be a whole number"),
        ({"above": 0}, r"approximate\['above'\] must be a whole number from 1"),
        ({"kind": "ivf_sq8", "probes": 0}, r"approximate\['probes'\] must be a whole number"),
        ({"kind": "ivf_sq8", "lists": 1.5}, r"approximate\['lists'\] must be a whole number"),
    ],
)
def test_options_that_cannot_be_are_refused_by_name(
    option: Any, message: str, tmp_path: Path
) -> None:
    entry = {
        "BACKEND": "django_obc_ai.backends.vector_stores.faiss.FaissVectorStore",
        "OPTIONS": {"path": tmp_path, "approximate": option},
    }
    with (
        override_settings(OBC_AI={"VECTOR_STORES": {"default": entry}}),
        pytest.raises(ConfigurationError, match=message),
    ):
        vector_stores["default"]
