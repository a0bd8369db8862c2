"""The contract suite of vector stores.

Mix it into a ``unittest.TestCase`` (or a Django one) and say how to make the backend.
"""

from __future__ import annotations

import threading
import unittest
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from django_obc_ai.backends.vector_stores.base import BaseVectorStore
from django_obc_ai.exceptions import DimensionMismatchError, IndexNotReadyError
from django_obc_ai.types import ReplicaState

if TYPE_CHECKING:
    from numpy.typing import NDArray

    _Case = unittest.TestCase
else:
    _Case = object


def _unit(seed: int, count: int, dimension: int = 16) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def _moment(version: int = 1, *, of: int = 2) -> ReplicaState:
    """Return a moment of the generation with a number; each belongs to one index only."""
    return ReplicaState(
        index_uuid=uuid.UUID(int=1), generation=uuid.UUID(int=of), version=version, stamp="s"
    )


class VectorStoreContract(_Case):
    """What every vector store must do."""

    #: Changes that searches run beside; a store in a database may take fewer, for its speed.
    rounds: ClassVar[int] = 118

    def make_store(self) -> BaseVectorStore:
        """Return a fresh, empty store."""
        raise NotImplementedError

    def end_thread(self) -> None:
        """Release what a thread of the suite holds at its end, such as a connection."""

    def reopened(self, store: BaseVectorStore) -> BaseVectorStore:
        """Close a persistent store and return another one over the same files."""
        store.close()
        # Any: persistent stores take their folder as "path"; override this for one that does not.
        again: Any = type(store)
        reopened: BaseVectorStore = again(path=store.path)
        return reopened

    def _filled(self, count: int = 300) -> tuple[BaseVectorStore, NDArray[Any], NDArray[Any]]:
        store, ids, vectors = self.make_store(), np.arange(1, count + 1) * 7, _unit(1, count)
        batches = [(ids[s : s + 64], vectors[s : s + 64]) for s in range(0, count, 64)]
        store.reset("places", dimension=16, batches=batches, state=_moment())
        return store, ids, vectors

    def _assert_exact(
        self,
        store: BaseVectorStore,
        ids: NDArray[Any],
        vectors: NDArray[Any],
        allowed: Sequence[int] | None = None,
    ) -> None:
        queries = _unit(9, 5)
        kept = np.isin(ids, allowed) if allowed is not None else np.ones(len(ids), dtype=bool)
        scores = queries @ vectors[kept].T
        for line, hits in zip(scores, store.search("places", queries, 10, allowed), strict=True):
            best = np.argsort(-line)[:10]
            self.assertEqual([hit.id for hit in hits], ids[kept][best].tolist())
            np.testing.assert_allclose([hit.score for hit in hits], line[best], atol=1e-5)

    def test_search_equals_exact_cosine(self) -> None:
        self._assert_exact(*self._filled())

    def test_scores_are_true_cosines(self) -> None:
        store = self.make_store()
        angles = [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.0, -1.0]
        rows = np.array([[a, np.sqrt(1 - a * a)] for a in angles], dtype=np.float32)
        store.reset("a", dimension=2, batches=[(np.arange(8), rows)], state=_moment())
        hits = store.search("a", np.array([[1.0, 0.0]], dtype=np.float32), 8)[0]
        np.testing.assert_allclose([hit.score for hit in hits], angles, atol=1e-6)

    def test_only_allowed_ids_are_found(self) -> None:
        store, ids, vectors = self._filled()
        self._assert_exact(store, ids, vectors, allowed=ids[::40].tolist())
        self._assert_exact(store, ids, vectors, allowed=ids[::2].tolist())
        self.assertEqual(store.search("places", _unit(2, 1), 3, []), [[]])
        self.assertEqual(store.search("places", _unit(2, 1), 3, [-5]), [[]])

    def test_fewer_come_back_when_fewer_are_held(self) -> None:
        store, _, _ = self._filled(3)
        self.assertEqual(len(store.search("places", _unit(2, 1), 10)[0]), 3)

    def test_added_removed_and_replaced_chunks(self) -> None:
        store, ids, vectors = self._filled()
        more, new = np.arange(5_000, 5_400), _unit(3, 400)
        store.apply("places", ids=more, vectors=new, removed=ids[:250].tolist(), state=_moment(2))
        self.assertEqual(store.state("places"), _moment(2))
        self.assertEqual(store.count("places"), 450)
        all_ids, all_vectors = np.concatenate([ids[250:], more]), np.vstack([vectors[250:], new])
        self._assert_exact(store, all_ids, all_vectors)
        store.apply("places", ids=all_ids[:1], vectors=_unit(4, 1), removed=[-1], state=_moment(3))
        self.assertEqual(store.count("places"), 450)
        all_vectors[0] = _unit(4, 1)[0]
        self._assert_exact(store, all_ids, all_vectors)

    def test_an_id_added_and_removed_at_once_is_gone(self) -> None:
        store, _, _ = self._filled(5)
        store.apply(
            "places", ids=np.array([900]), vectors=_unit(5, 1), removed=[900], state=_moment(2)
        )
        self.assertEqual(store.count("places"), 5)

    def test_ties_go_by_rising_id(self) -> None:
        store = self.make_store()
        same = np.repeat(_unit(6, 1), 40, axis=0)
        store.reset("t", dimension=16, batches=[(np.arange(40)[::-1], same)], state=_moment())
        hits = store.search("t", same[:1], 5)[0]
        self.assertEqual([hit.id for hit in hits], [0, 1, 2, 3, 4])

    def test_equal_vectors_tie_wherever_they_are(self) -> None:
        store = self.make_store()
        # Products of these are exact in float32, whatever the order of addition.
        vectors = np.full((2_000, 16), 0.25, dtype=np.float32)
        vectors[-1, 0] = -0.25
        ids = np.random.default_rng(3).permutation(2_000)
        store.reset("t", dimension=16, batches=[(ids, vectors)], state=_moment())
        later = np.arange(5_000, 5_003)
        store.apply("t", ids=later, vectors=vectors[:3], removed=ids[:5].tolist(), state=_moment(2))
        wanted = [*sorted(ids[5:-1].tolist()), *later.tolist()]
        for k in (1, 7, 2_500):
            for queries in (vectors[:1], np.repeat(vectors[:1], 9, axis=0)):
                for hits in store.search("t", queries, k):
                    found = [hit.id for hit in hits]
                    self.assertEqual(found[: len(wanted)], wanted[:k])
                    self.assertEqual(len({hit.score for hit in hits[: len(wanted)]}), 1)

    def test_allowed_ids_may_come_in_any_form(self) -> None:
        store, ids, _ = self._filled()
        query, some = _unit(2, 1), ids[10:200:3]
        wanted = store.search("places", query, 20, some.tolist())
        self.assertEqual(len(wanted[0]), 20)
        forms: list[Any] = [
            some,
            some[::-1],
            tuple(some.tolist()),
            np.concatenate([some, some]),
            [*some.tolist(), -1, 10**12],
        ]
        for form in forms:
            self.assertEqual(store.search("places", query, 20, form), wanted)
        everything = store.search("places", query, 500, ids)
        self.assertEqual(everything, store.search("places", query, 500))
        self.assertEqual(len(store.search("places", query, 500, some)[0]), len(some))
        store.apply(
            "places",
            ids=np.array([9_001, 9_002]),
            vectors=query[[0, 0]],
            removed=some[:1].tolist(),
            state=_moment(2),
        )
        hits = store.search("places", query, 500, [9_002, *some.tolist()])[0]
        self.assertEqual(hits[0].id, 9_002)
        self.assertEqual({hit.id for hit in hits}, {9_002, *some[1:].tolist()})

    def test_a_reset_that_fails_midway_changes_nothing(self) -> None:
        store, ids, vectors = self._filled()

        def broken() -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
            yield np.arange(10_000, 10_050), _unit(3, 50)  # an id is in one index only
            raise RuntimeError("the database went away")

        with self.assertRaisesRegex(RuntimeError, "went away"):
            store.reset("places", dimension=16, batches=broken(), state=_moment(2))
        self.assertEqual(store.state("places"), _moment())
        self.assertEqual(store.count("places"), 300)
        self._assert_exact(store, ids, vectors)
        with self.assertRaisesRegex(RuntimeError, "went away"):
            store.reset("other", dimension=16, batches=broken(), state=_moment(2, of=3))
        self.assertIsNone(store.state("other"))

    def test_what_is_on_disk_comes_back_and_nothing_else(self) -> None:
        store, ids, vectors = self._filled()
        if not store.is_persistent:
            store.load("empty", _moment(), lambda _: True)
            self.assertIsNone(store.state("empty"))
            return
        self.assertIsNotNone(store.path)
        again = self.reopened(store)
        with again.filling("places", _moment()):
            again.load("places", _moment(), lambda found: found == _moment())
        self.assertEqual(again.state("places"), _moment())
        self._assert_exact(again, ids, vectors)
        again.drop("places")
        again = self.reopened(again)
        again.load("places", _moment(), lambda _: True)
        self.assertIsNone(again.state("places"))

    def test_an_empty_index_finds_nothing(self) -> None:
        store = self.make_store()
        store.reset("empty", dimension=16, batches=[], state=_moment())
        self.assertEqual(store.search("empty", _unit(1, 2), 3), [[], []])
        self.assertEqual(store.count("empty"), 0)

    def test_an_index_that_is_not_held_is_named(self) -> None:
        store = self.make_store()
        self.assertIsNone(store.state("nowhere"))
        self.assertEqual(store.count("nowhere"), 0)
        store.drop("nowhere")
        with self.assertRaisesRegex(IndexNotReadyError, "nowhere"):
            store.search("nowhere", _unit(1, 1), 1)
        with self.assertRaisesRegex(IndexNotReadyError, "nowhere"):
            store.apply(
                "nowhere", ids=np.array([1]), vectors=_unit(1, 1), removed=[], state=_moment()
            )

    def test_another_dimension_is_refused_and_changes_nothing(self) -> None:
        store, ids, vectors = self._filled()
        wrong = _unit(1, 2, dimension=8)
        with self.assertRaises(DimensionMismatchError):
            store.search("places", wrong, 1)
        with self.assertRaises(DimensionMismatchError):
            store.apply(
                "places", ids=np.array([1, 2]), vectors=wrong, removed=[7], state=_moment(2)
            )
        with self.assertRaises(DimensionMismatchError):
            store.reset(
                "places", dimension=16, batches=[(np.array([1, 2]), wrong)], state=_moment(2)
            )
        self.assertEqual(store.state("places"), _moment())
        self._assert_exact(store, ids, vectors)

    def test_indexes_do_not_mix_and_can_be_dropped(self) -> None:
        store, _, _ = self._filled(4)
        one = (np.array([1_000]), _unit(1, 1))
        store.reset("other", dimension=16, batches=[one], state=_moment(of=3))
        self.assertEqual((store.count("places"), store.count("other")), (4, 1))
        store.drop("other")
        self.assertIsNone(store.state("other"))
        self.assertEqual(store.count("places"), 4)

    def test_searches_beside_changes_are_never_torn(self) -> None:
        store, ids, _ = self._filled(64)
        problems: list[str] = []
        is_done = threading.Event()

        def search() -> None:
            try:
                while not is_done.is_set():
                    hits = store.search("places", _unit(8, 1), 1_000)[0]
                    if len({hit.id for hit in hits}) != 64:
                        problems.append(f"{len(hits)} hits")
            finally:
                self.end_thread()

        current = ids.tolist()
        with ThreadPoolExecutor(4) as pool:
            searches = [pool.submit(search) for _ in range(4)]
            try:
                for version in range(2, 2 + self.rounds):
                    fresh = (np.arange(64) + version * 1_000).tolist()
                    store.apply(
                        "places",
                        ids=np.array(fresh),
                        vectors=_unit(version, 64),
                        removed=current,
                        state=_moment(version),
                    )
                    current = fresh
            finally:
                is_done.set()
            for each in searches:
                each.result()
        self.assertEqual(problems, [])
