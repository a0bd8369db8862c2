"""Contract suites: what every embedder, vector store and cost store must do.

Mix one into a ``unittest.TestCase`` (or a Django one) and say how to make the backend::

    class MyStoreTests(VectorStoreContract, SimpleTestCase):
        def make_store(self):
            return MyStore()
"""

from __future__ import annotations

import threading
import unittest
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from django_obc_ai.backends.cost_stores.base import BaseCostStore
from django_obc_ai.backends.embedders.base import BaseEmbedder
from django_obc_ai.backends.vector_stores.base import BaseVectorStore
from django_obc_ai.exceptions import DimensionMismatchError, IndexNotReadyError
from django_obc_ai.types import BudgetHold, ReplicaState

if TYPE_CHECKING:
    from numpy.typing import NDArray

    _Case = unittest.TestCase
else:
    _Case = object

_TEXTS = [
    "Barangay Poblacion, Marawi City",
    "Lungsod ng Cotabato, pamilihan",
    "مرحبا",
    "",
    "🌾 rice",
]


class EmbedderContract(_Case):
    """What every embedder must do."""

    def make_embedder(self) -> BaseEmbedder:
        """Return a fresh embedder."""
        raise NotImplementedError

    def _embed(self, texts: Sequence[str], state: bytes = b"") -> NDArray[np.float32]:
        return self.make_embedder().embed_documents(texts, state=state)

    def test_vectors_have_the_declared_shape_and_type(self) -> None:
        for vectors in (self._embed(_TEXTS), self.make_embedder().embed_queries(_TEXTS)):
            self.assertEqual(vectors.shape, (len(_TEXTS), self.make_embedder().dimension))
            self.assertEqual(vectors.dtype, np.float32)

    def test_rows_have_unit_length_or_are_zero_for_empty_text(self) -> None:
        lengths = np.linalg.norm(self._embed(_TEXTS), axis=1)
        for text, length in zip(_TEXTS, lengths, strict=True):
            wanted = 1.0 if text else 0.0
            self.assertAlmostEqual(float(length), wanted, places=4, msg=text)

    def test_no_texts_give_no_rows(self) -> None:
        self.assertEqual(self._embed([]).shape, (0, self.make_embedder().dimension))

    def test_a_text_gets_the_same_vector_alone_and_in_a_batch(self) -> None:
        batch = self._embed(_TEXTS)
        for row, text in enumerate(_TEXTS):
            np.testing.assert_allclose(self._embed([text])[0], batch[row], atol=1e-5)

    def test_order_is_kept(self) -> None:
        np.testing.assert_allclose(self._embed(_TEXTS[::-1]), self._embed(_TEXTS)[::-1], atol=1e-5)

    def test_a_text_is_nearer_to_itself_than_to_others(self) -> None:
        vectors = self._embed(["coastal fishing village", "mountain coffee farm"])
        self.assertGreater(float(vectors[0] @ vectors[0]), float(vectors[0] @ vectors[1]))

    def test_fitted_state_is_accepted_and_stable(self) -> None:
        state = self.make_embedder().fit(iter(_TEXTS))
        self.assertIsInstance(state, bytes)
        np.testing.assert_array_equal(self._embed(_TEXTS, state), self._embed(_TEXTS, state))

    def test_identity_is_stable_and_short(self) -> None:
        identity = self.make_embedder().identity
        self.assertEqual(identity, self.make_embedder().identity)
        self.assertLessEqual(len(identity), 120)

    def test_many_threads_get_the_same_vectors(self) -> None:
        embedder = self.make_embedder()
        alone = embedder.embed_documents(_TEXTS)
        with ThreadPoolExecutor(8) as pool:
            for found in pool.map(lambda _: embedder.embed_documents(_TEXTS), range(16)):
                np.testing.assert_allclose(found, alone, atol=1e-5)


def _unit(seed: int, count: int, dimension: int = 16) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def _moment(version: int = 1) -> ReplicaState:
    return ReplicaState(
        index_uuid=uuid.UUID(int=1), generation=uuid.UUID(int=2), version=version, stamp="s"
    )


class VectorStoreContract(_Case):
    """What every vector store must do."""

    def make_store(self) -> BaseVectorStore:
        """Return a fresh, empty store."""
        raise NotImplementedError

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
        store.reset("other", dimension=16, batches=[(np.array([1]), _unit(1, 1))], state=_moment())
        self.assertEqual((store.count("places"), store.count("other")), (4, 1))
        store.drop("other")
        self.assertIsNone(store.state("other"))
        self.assertEqual(store.count("places"), 4)

    def test_searches_beside_changes_are_never_torn(self) -> None:
        store, ids, _ = self._filled(64)
        problems: list[str] = []
        is_done = threading.Event()

        def search() -> None:
            while not is_done.is_set():
                hits = store.search("places", _unit(8, 1), 1_000)[0]
                if len({hit.id for hit in hits}) != 64:
                    problems.append(f"{len(hits)} hits")

        threads = [threading.Thread(target=search) for _ in range(4)]
        for thread in threads:
            thread.start()
        current = ids.tolist()
        for version in range(2, 120):
            fresh = (np.arange(64) + version * 1_000).tolist()
            store.apply(
                "places",
                ids=np.array(fresh),
                vectors=_unit(version, 64),
                removed=current,
                state=_moment(version),
            )
            current = fresh
        is_done.set()
        for thread in threads:
            thread.join()
        self.assertEqual(problems, [])


class CostStoreContract(_Case):
    """What every cost store must do."""

    #: Can several threads share one store in this test? False inside a TestCase.
    can_share_threads = True

    def make_store(self) -> BaseCostStore:
        """Return a store without any total."""
        raise NotImplementedError

    def _spent_and_held(self, store: BaseCostStore, key: str) -> tuple[int, int]:
        totals = store.totals([key])[key]
        return totals.spent_nano, totals.held_nano

    def test_unused_keys_are_zero(self) -> None:
        self.assertEqual(self._spent_and_held(self.make_store(), "a"), (0, 0))

    def test_reserve_holds_and_settle_spends(self) -> None:
        store, reservation = self.make_store(), uuid.uuid4()
        self.assertIsNone(store.reserve(reservation, [BudgetHold(key="a", limit_nano=10)], 7))
        self.assertEqual(self._spent_and_held(store, "a"), (0, 7))
        self.assertTrue(store.settle(reservation, 3))
        self.assertEqual(self._spent_and_held(store, "a"), (3, 0))

    def test_reserve_refuses_what_would_pass_a_limit(self) -> None:
        store = self.make_store()
        hold = BudgetHold(key="a", limit_nano=10)
        self.assertIsNone(store.reserve(uuid.uuid4(), [hold], 6))
        self.assertEqual(store.reserve(uuid.uuid4(), [hold], 5), hold)
        self.assertIsNone(store.reserve(uuid.uuid4(), [hold], 4))
        self.assertEqual(self._spent_and_held(store, "a"), (0, 10))

    def test_a_refused_key_holds_nothing_under_the_others(self) -> None:
        store = self.make_store()
        holds = [BudgetHold(key="wide", limit_nano=100), BudgetHold(key="narrow", limit_nano=1)]
        refused = store.reserve(uuid.uuid4(), holds, 5)
        self.assertEqual(refused and refused.key, "narrow")
        self.assertEqual(self._spent_and_held(store, "wide"), (0, 0))

    def test_keys_without_a_limit_only_count(self) -> None:
        store, reservation = self.make_store(), uuid.uuid4()
        self.assertIsNone(store.reserve(reservation, [BudgetHold(key="a")], 10**15))
        self.assertTrue(store.settle(reservation, 10**15))
        self.assertEqual(self._spent_and_held(store, "a"), (10**15, 0))

    def test_repeated_steps_change_nothing(self) -> None:
        store, reservation = self.make_store(), uuid.uuid4()
        hold = [BudgetHold(key="a", limit_nano=10)]
        for _ in range(3):
            self.assertIsNone(store.reserve(reservation, hold, 8))
        self.assertEqual(self._spent_and_held(store, "a"), (0, 8))
        self.assertTrue(store.settle(reservation, 8))
        self.assertFalse(store.settle(reservation, 8))
        self.assertFalse(store.release(reservation))
        self.assertIsNone(store.reserve(reservation, hold, 8))
        self.assertEqual(self._spent_and_held(store, "a"), (8, 0))

    def test_release_gives_the_hold_back(self) -> None:
        store, reservation = self.make_store(), uuid.uuid4()
        store.reserve(reservation, [BudgetHold(key="a", limit_nano=10)], 10)
        self.assertTrue(store.release(reservation))
        self.assertEqual(self._spent_and_held(store, "a"), (0, 0))

    def test_unknown_reservations_are_not_settled(self) -> None:
        self.assertFalse(self.make_store().settle(uuid.uuid4(), 5))

    def test_more_may_be_settled_than_was_held(self) -> None:
        store, reservation = self.make_store(), uuid.uuid4()
        store.reserve(reservation, [BudgetHold(key="a", limit_nano=10)], 5)
        store.settle(reservation, 12)
        self.assertEqual(self._spent_and_held(store, "a"), (12, 0))
        self.assertIsNotNone(store.reserve(uuid.uuid4(), [BudgetHold(key="a", limit_nano=12)], 1))

    def test_many_threads_never_pass_the_limit(self) -> None:
        if not self.can_share_threads:
            self.skipTest("a TestCase's connection serves one thread")
        store = self.make_store()
        holds = [BudgetHold(key="a", limit_nano=50), BudgetHold(key="b", limit_nano=70)]

        def spend(number: int) -> int:
            reservation = uuid.uuid4()
            if store.reserve(reservation, holds if number % 2 else holds[::-1], 3) is not None:
                return 0
            store.settle(reservation, number % 4)
            return number % 4

        settled = self.run_threads(spend, range(80))
        self.assertEqual(self._spent_and_held(store, "a"), (sum(settled), 0))
        self.assertEqual(self._spent_and_held(store, "b"), (sum(settled), 0))
        self.assertLessEqual(sum(settled), 50)

    def run_threads(self, work: Callable[[int], int], numbers: Sequence[int]) -> list[int]:
        """Run work in 8 threads; stores with connections override it to close them."""
        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(work, numbers))
