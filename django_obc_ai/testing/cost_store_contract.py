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
from django_obc_ai.types import Amount, BudgetHold, BudgetTotals

if TYPE_CHECKING:
    _Case = unittest.TestCase
else:
    _Case = object


class CostStoreContract(_Case):
    """What every cost store must do."""

    #: Can several threads share one store in this test? False inside a TestCase.
    can_share_threads = True
    now = 0.0

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
        self.assertIsNone(
            store.reserve(reservation, [BudgetHold(key="a", limit_nano=10)], Amount(nano=7))
        )
        self.assertEqual(self._spent_and_held(store, "a"), (0, 7))
        self.assertTrue(store.settle(reservation, Amount(nano=3)))
        self.assertEqual(self._spent_and_held(store, "a"), (3, 0))

    def test_reserve_refuses_what_would_pass_a_limit(self) -> None:
        store = self.make_store()
        hold = BudgetHold(key="a", limit_nano=10)
        self.assertIsNone(store.reserve(uuid.uuid4(), [hold], Amount(nano=6)))
        self.assertEqual(store.reserve(uuid.uuid4(), [hold], Amount(nano=5)), hold)
        self.assertIsNone(store.reserve(uuid.uuid4(), [hold], Amount(nano=4)))
        self.assertEqual(self._spent_and_held(store, "a"), (0, 10))

    def test_a_refused_key_holds_nothing_under_the_others(self) -> None:
        store = self.make_store()
        holds = [BudgetHold(key="wide", limit_nano=100), BudgetHold(key="narrow", limit_nano=1)]
        refused = store.reserve(uuid.uuid4(), holds, Amount(nano=5))
        self.assertEqual(refused and refused.key, "narrow")
        self.assertEqual(self._spent_and_held(store, "wide"), (0, 0))

    def test_the_first_full_key_in_the_order_given_is_named(self) -> None:
        store = self.make_store()
        holds = [BudgetHold(key=key, limit_nano=limit) for key, limit in (("c", 9), ("b", 1))]
        for order in ([*holds, BudgetHold(key="a", limit_nano=2)], holds[::-1]):
            refused = store.reserve(uuid.uuid4(), order, Amount(nano=5))
            self.assertEqual(refused and refused.key, "b")

    def test_keys_without_a_limit_only_count(self) -> None:
        store, reservation = self.make_store(), uuid.uuid4()
        self.assertIsNone(store.reserve(reservation, [BudgetHold(key="a")], Amount(nano=10**15)))
        self.assertTrue(store.settle(reservation, Amount(nano=10**15)))
        self.assertEqual(self._spent_and_held(store, "a"), (10**15, 0))

    def test_repeated_steps_change_nothing(self) -> None:
        store, reservation = self.make_store(), uuid.uuid4()
        hold = [BudgetHold(key="a", limit_nano=10)]
        for _ in range(3):
            self.assertIsNone(store.reserve(reservation, hold, Amount(nano=8)))
        self.assertEqual(self._spent_and_held(store, "a"), (0, 8))
        self.assertTrue(store.settle(reservation, Amount(nano=8)))
        self.assertFalse(store.settle(reservation, Amount(nano=8)))
        self.assertFalse(store.release(reservation))
        self.assertIsNone(store.reserve(reservation, hold, Amount(nano=8)))
        self.assertEqual(self._spent_and_held(store, "a"), (8, 0))

    def test_release_gives_the_hold_back(self) -> None:
        store, reservation = self.make_store(), uuid.uuid4()
        store.reserve(reservation, [BudgetHold(key="a", limit_nano=10)], Amount(nano=10))
        self.assertTrue(store.release(reservation))
        self.assertEqual(self._spent_and_held(store, "a"), (0, 0))

    def test_unknown_reservations_are_not_settled(self) -> None:
        self.assertFalse(self.make_store().settle(uuid.uuid4(), Amount(nano=5)))

    def test_more_may_be_settled_than_was_held(self) -> None:
        store, reservation = self.make_store(), uuid.uuid4()
        store.reserve(reservation, [BudgetHold(key="a", limit_nano=10)], Amount(nano=5))
        store.settle(reservation, Amount(nano=12))
        self.assertEqual(self._spent_and_held(store, "a"), (12, 0))
        self.assertIsNotNone(
            store.reserve(uuid.uuid4(), [BudgetHold(key="a", limit_nano=12)], Amount(nano=1))
        )

    def test_amounts_beyond_exact_floats_are_exact(self) -> None:
        store, most = self.make_store(), 9 * 10**18
        hold = BudgetHold(key="a", limit_nano=most)
        reservation = uuid.uuid4()
        self.assertIsNone(store.reserve(reservation, [hold], Amount(nano=most - 2)))
        self.assertEqual(store.reserve(uuid.uuid4(), [hold], Amount(nano=3)), hold)
        self.assertIsNone(store.reserve(uuid.uuid4(), [hold], Amount(nano=2)))
        store.settle(reservation, Amount(nano=most - 3))
        self.assertEqual(self._spent_and_held(store, "a"), (most - 3, 2))
        self.assertEqual(store.reserve(uuid.uuid4(), [hold], Amount(nano=2)), hold)
        self.assertIsNone(store.reserve(uuid.uuid4(), [hold], Amount(nano=1)))

    def test_each_key_counts_its_own_unit(self) -> None:
        store, reservation = self.make_store(), uuid.uuid4()
        holds = [
            BudgetHold(key="usd", limit_nano=100),
            BudgetHold(key="tokens", limit_nano=50, unit="tokens"),
            BudgetHold(key="requests", limit_nano=2, unit="requests"),
        ]
        call = Amount(nano=40, tokens=20, requests=1)
        self.assertIsNone(store.reserve(reservation, holds, call))
        self.assertEqual(self._spent_and_held(store, "tokens"), (0, 20))
        settled = store.settle(reservation, Amount(nano=30, tokens=15, requests=1))
        assert settled is not None
        self.assertEqual(
            dict(settled.totals),
            {
                "usd": BudgetTotals(spent_nano=30),
                "tokens": BudgetTotals(spent_nano=15),
                "requests": BudgetTotals(spent_nano=1),
            },
        )
        refused = store.reserve(uuid.uuid4(), holds, Amount(nano=1, tokens=36, requests=1))
        self.assertEqual(refused and refused.key, "tokens")
        self.assertIsNone(store.reserve(uuid.uuid4(), holds, call))
        refused = store.reserve(uuid.uuid4(), holds, Amount(requests=1))
        self.assertEqual(refused and refused.key, "requests")

    def test_a_hold_whose_lease_ends_is_spent_at_its_ceiling(self) -> None:
        store, reservation = self._clocked(), uuid.uuid4()
        hold = BudgetHold(key="a", limit_nano=10)
        store.reserve(reservation, [hold], Amount(nano=7, tokens=3), details="what it was")
        self.now += store.lease_seconds - 1
        self.assertEqual(store.expire(), [])
        self.now += 2
        (expired,) = store.expire()
        self.assertEqual(expired.reservation, reservation)
        self.assertEqual(expired.amount, Amount(nano=7, tokens=3))
        self.assertEqual(expired.details, "what it was")
        self.assertTrue(expired.owner)
        self.assertEqual(self._spent_and_held(store, "a"), (7, 0))
        self.assertEqual(store.reserve(uuid.uuid4(), [hold], Amount(nano=4)), hold)
        self.assertIsNone(store.reserve(reservation, [hold], Amount(nano=3)))
        self.assertEqual(self._spent_and_held(store, "a"), (7, 0))

    def test_expired_holds_are_told_until_they_are_confirmed(self) -> None:
        store, ids = self._clocked(), [uuid.uuid4(), uuid.uuid4()]
        for reservation in ids:
            store.reserve(reservation, [BudgetHold(key="a")], Amount(nano=7))
        self.now += store.lease_seconds + 1
        for _ in range(2):
            self.assertEqual({each.reservation for each in store.expire()}, set(ids))
        store.confirm(ids[:1])
        self.assertEqual([each.reservation for each in store.expire()], ids[1:])
        self.assertEqual(self._spent_and_held(store, "a"), (14, 0))

    def test_a_late_settle_corrects_the_ceiling_once(self) -> None:
        for is_confirmed in (False, True):
            store, reservation = self._clocked(), uuid.uuid4()
            key = f"a{is_confirmed}"
            store.reserve(reservation, [BudgetHold(key=key)], Amount(nano=7))
            self.now += store.lease_seconds + 1
            store.expire()
            if is_confirmed:
                store.confirm([reservation])
            settled = store.settle(reservation, Amount(nano=2))
            assert settled is not None
            self.assertTrue(settled.was_expired)
            self.assertEqual(self._spent_and_held(store, key), (2, 0))
            self.assertIsNone(store.settle(reservation, Amount(nano=1)))
            self.assertIsNone(store.release(reservation))
            self.assertEqual(store.expire(), [])
            self.assertEqual(self._spent_and_held(store, key), (2, 0))

    def test_renewed_leases_last_longer(self) -> None:
        store, reservation = self._clocked(), uuid.uuid4()
        store.reserve(reservation, [BudgetHold(key="a")], Amount(nano=7))
        for _ in range(3):
            self.now += store.lease_seconds - 1
            store.renew()
            self.assertEqual(store.expire(), [])
        settled = store.settle(reservation, Amount(nano=5))
        assert settled is not None
        self.assertFalse(settled.was_expired)
        store.renew()
        self.now += store.lease_seconds + 1
        self.assertEqual(store.expire(), [])
        self.assertEqual(self._spent_and_held(store, "a"), (5, 0))

    def test_rebuilding_replaces_what_is_spent_and_keeps_what_is_held(self) -> None:
        store, reservation = self.make_store(), uuid.uuid4()
        holds = [BudgetHold(key="a", limit_nano=100), BudgetHold(key="b")]
        for _ in range(2):
            store.reserve(done := uuid.uuid4(), holds, Amount(nano=9))
            store.settle(done, Amount(nano=9))
        store.reserve(reservation, holds, Amount(nano=5))
        self.assertTrue(store.rebuild(lambda: {"a": 12, "new": 3}))
        self.assertEqual(self._spent_and_held(store, "a"), (12, 5))
        self.assertEqual(self._spent_and_held(store, "new"), (3, 0))
        self.assertEqual(self._spent_and_held(store, "b"), (18, 5))
        store.settle(reservation, Amount(nano=4))
        self.assertEqual(self._spent_and_held(store, "a"), (16, 0))

    def _clocked(self) -> BaseCostStore:
        store = self.make_store()
        self.now = 1_900_000_000.0
        store.clock = lambda: self.now
        return store

    def test_many_threads_never_pass_the_limit(self) -> None:
        if not self.can_share_threads:
            self.skipTest("a TestCase's connection serves one thread")
        store = self.make_store()
        holds = [BudgetHold(key="a", limit_nano=50), BudgetHold(key="b", limit_nano=70)]

        def spend(number: int) -> int:
            reservation = uuid.uuid4()
            if (
                store.reserve(reservation, holds if number % 2 else holds[::-1], Amount(nano=3))
                is not None
            ):
                return 0
            store.settle(reservation, Amount(nano=number % 4))
            return number % 4

        settled = self.run_threads(spend, range(80))
        self.assertEqual(self._spent_and_held(store, "a"), (sum(settled), 0))
        self.assertEqual(self._spent_and_held(store, "b"), (sum(settled), 0))
        self.assertLessEqual(sum(settled), 50)

    def run_threads(self, work: Callable[[int], int], numbers: Sequence[int]) -> list[int]:
        """Run work in 8 threads; stores with connections override it to close them."""
        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(work, numbers))
