"""The contract suite of cost stores.

Mix it into a ``unittest.TestCase`` (or a Django one) and say how to make the backend.
"""

from __future__ import annotations

import unittest
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from django_obc_ai.backends.cost_stores.base import BaseCostStore
from django_obc_ai.types import BudgetHold

if TYPE_CHECKING:
    _Case = unittest.TestCase
else:
    _Case = object


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

    def test_the_first_full_key_in_the_order_given_is_named(self) -> None:
        store = self.make_store()
        holds = [BudgetHold(key=key, limit_nano=limit) for key, limit in (("c", 9), ("b", 1))]
        for order in ([*holds, BudgetHold(key="a", limit_nano=2)], holds[::-1]):
            refused = store.reserve(uuid.uuid4(), order, 5)
            self.assertEqual(refused and refused.key, "b")

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
