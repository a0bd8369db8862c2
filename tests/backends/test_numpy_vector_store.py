"""The numpy store equals a brute-force model after any sequence of changes."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest
from django.test import SimpleTestCase
from hypothesis import given, settings
from hypothesis import strategies as st

from django_obc_ai.backends.vector_stores import BaseVectorStore
from django_obc_ai.backends.vector_stores.numpy import NumpyVectorStore
from django_obc_ai.exceptions import DimensionMismatchError, IndexNotReadyError
from django_obc_ai.testing import VectorStoreContract
from django_obc_ai.types import ReplicaState

# Unit vectors whose products are exact in float32, whatever the order of addition.
UNITS = np.array(
    [*np.eye(4), *-np.eye(4), *(np.array(signs) / 2 for signs in product((-1, 1), repeat=4))],
    dtype=np.float32,
)
ZERO = np.zeros((1, 4), dtype=np.float32)
VECTORS = np.vstack([UNITS, ZERO])

IDS = st.integers(0, 30)
ROWS = st.dictionaries(IDS, st.integers(0, len(VECTORS) - 1), max_size=12)
STEP = st.one_of(
    st.tuples(st.just("apply"), ROWS, st.lists(IDS, max_size=14)),
    st.tuples(st.just("reset"), ROWS, st.integers(1, 5)),
    st.tuples(st.just("search"), st.integers(0, len(UNITS) - 1), st.integers(1, 40)),
    st.tuples(st.just("filter"), st.integers(0, len(UNITS) - 1), st.lists(IDS, max_size=20)),
)


class NumpyVectorStoreTests(VectorStoreContract, SimpleTestCase):
    def make_store(self) -> BaseVectorStore:
        return NumpyVectorStore()


def moment(version: int) -> ReplicaState:
    return ReplicaState(
        index_uuid=uuid.UUID(int=1), generation=uuid.UUID(int=2), version=version, stamp="s"
    )


def arrays(rows: dict[int, int]) -> tuple[Any, Any]:
    ids = np.fromiter(rows, dtype=np.int64, count=len(rows))
    return ids, VECTORS[list(rows.values())].reshape(len(rows), 4)


def batches(rows: dict[int, int], size: int) -> Iterator[tuple[Any, Any]]:
    items = list(rows.items())
    for start in range(0, len(items), size):
        yield arrays(dict(items[start : start + size]))


def best(model: dict[int, int], query: Any, k: int) -> list[tuple[int, float]]:
    scored = [(number, float(VECTORS[row] @ query)) for number, row in model.items()]
    return sorted(scored, key=lambda pair: (-pair[1], pair[0]))[:k]


@settings(max_examples=200, deadline=None)
@given(st.lists(STEP, max_size=25))
def test_any_sequence_of_changes_equals_a_dictionary(steps: list[tuple[str, Any, Any]]) -> None:
    store = NumpyVectorStore()
    store.reset("places", dimension=4, batches=[], state=moment(0))
    model: dict[int, int] = {}
    for version, (kind, first, second) in enumerate(steps, start=1):
        if kind == "apply":
            ids, vectors = arrays(first)
            store.apply("places", ids=ids, vectors=vectors, removed=second, state=moment(version))
            model.update(first)
            model = {number: row for number, row in model.items() if number not in second}
        elif kind == "reset":
            store.reset(
                "places", dimension=4, batches=batches(first, second), state=moment(version)
            )
            model = dict(first)
        else:
            k, allowed = (second, None) if kind == "search" else (7, second)
            kept = {n: row for n, row in model.items() if allowed is None or n in allowed}
            (hits,) = store.search("places", UNITS[first : first + 1], k, allowed)
            assert [(hit.id, hit.score) for hit in hits] == best(kept, UNITS[first], k)
        assert store.count("places") == len(model)
    for query in UNITS[:6]:
        (hits,) = store.search("places", query[None, :], 50)
        assert [(hit.id, hit.score) for hit in hits] == best(model, query, 50)


def test_many_queries_are_answered_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    store = NumpyVectorStore()
    rows = {number: number % len(VECTORS) for number in range(100)}
    store.reset("places", dimension=4, batches=batches(rows, 30), state=moment(1))
    queries = np.tile(UNITS, (3, 1))
    whole = store.search("places", queries, 5)
    for size in (60, 7, 1):
        monkeypatch.setattr("django_obc_ai.backends.vector_stores._exact._ROWS_PER_BLOCK", size)
        monkeypatch.setattr("django_obc_ai.backends.vector_stores._exact._SCORES_PER_BLOCK", 1)
        assert store.search("places", queries, 5) == whole


def test_a_search_that_began_earlier_keeps_its_moment() -> None:
    """Later changes write into the free rows of arrays that a running search still reads."""
    store = NumpyVectorStore()
    store.reset("places", dimension=4, batches=[arrays({1: 0, 2: 1})], state=moment(1))
    before = store._contents["places"]
    ids, vectors = before.ids[: before.used].copy(), before.vectors[: before.used].copy()
    for version in range(2, 60):
        fresh = {version * 10 + n: n for n in range(8)}
        new_ids, new_vectors = arrays(fresh)
        store.apply(
            "places", ids=new_ids, vectors=new_vectors, removed=[1, 2], state=moment(version)
        )
    np.testing.assert_array_equal(before.ids[: before.used], ids)
    np.testing.assert_array_equal(before.vectors[: before.used], vectors)
    assert before.is_alive.tolist() == [True, True]


def test_memory_of_removed_chunks_is_given_back() -> None:
    store = NumpyVectorStore()
    store.reset("places", dimension=4, batches=[arrays({1: 0})], state=moment(1))
    for version in range(2, 500):
        ids, vectors = arrays({version: version % len(VECTORS)})
        store.apply(
            "places", ids=ids, vectors=vectors, removed=[version - 1], state=moment(version)
        )
    assert store.count("places") == 1
    assert len(store._contents["places"].ids) <= 256


def test_rounding_never_makes_a_score_above_one() -> None:
    vectors = np.random.default_rng(3).normal(size=(500, 48)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    store = NumpyVectorStore()
    store.reset("places", dimension=48, batches=[(np.arange(500), vectors)], state=moment(1))
    for sign in (1, -1):
        scores = [hit.score for hits in store.search("places", sign * vectors, 500) for hit in hits]
        assert min(scores) >= -1.0
        assert max(scores) <= 1.0


def test_a_single_vector_is_refused_as_a_query() -> None:
    store = NumpyVectorStore()
    store.reset("places", dimension=4, batches=[arrays({1: 1})], state=moment(1))
    with pytest.raises(DimensionMismatchError, match="1 axes; give"):
        store.search("places", UNITS[0], 1)


def test_closing_forgets_everything() -> None:
    store = NumpyVectorStore()
    store.reset("places", dimension=4, batches=[arrays({1: 1})], state=moment(1))
    store.close()
    assert store.state("places") is None
    with pytest.raises(IndexNotReadyError, match="ai_index places"):
        store.search("places", UNITS[:1], 1)


def test_it_writes_no_file_and_starts_cold() -> None:
    assert NumpyVectorStore().path is None
    assert not NumpyVectorStore.is_persistent
