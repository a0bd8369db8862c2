"""The cost store in memory."""

from __future__ import annotations

import uuid

import pytest
from django.test import SimpleTestCase
from hypothesis import given
from hypothesis import strategies as st

from django_obc_ai.backends.cost_stores import BaseCostStore
from django_obc_ai.backends.cost_stores.memory import MemoryCostStore
from django_obc_ai.testing import CostStoreContract
from django_obc_ai.types import Amount, BudgetHold, BudgetTotals


class MemoryCostStoreTests(CostStoreContract, SimpleTestCase):
    def make_store(self) -> BaseCostStore:
        return MemoryCostStore()


def test_it_says_that_processes_do_not_share_it() -> None:
    assert not MemoryCostStore.is_shared


def test_stores_do_not_share_totals() -> None:
    first, second = MemoryCostStore(), MemoryCostStore()
    first.reserve(uuid.uuid4(), [BudgetHold(key="a")], Amount(nano=5))
    assert second.totals(["a"]) == {"a": BudgetTotals()}


def test_closed_reservations_are_remembered_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("django_obc_ai.backends.cost_stores.memory._REMEMBERED", 3)
    store, hold = MemoryCostStore(), [BudgetHold(key="a")]
    ids = [uuid.uuid4() for _ in range(5)]
    for reservation in ids:
        store.reserve(reservation, hold, Amount(nano=1))
        store.settle(reservation, Amount(nano=1))
    assert len(store._closed) == 3
    assert store.reserve(ids[-1], hold, Amount(nano=1)) is None
    assert store.totals(["a"])["a"] == BudgetTotals(spent_nano=5)
    assert store._open == {}


@given(
    st.integers(0, 60),
    st.lists(st.tuples(st.integers(0, 30), st.one_of(st.none(), st.integers(0, 40))), max_size=20),
)
def test_spent_and_held_are_what_was_admitted(
    limit: int, calls: list[tuple[int, int | None]]
) -> None:
    """None leaves the hold open; a number settles it."""
    store = MemoryCostStore()
    spent = held = 0
    for amount, settled in calls:
        reservation = uuid.uuid4()
        hold = BudgetHold(key="a", limit_nano=limit)
        refused = store.reserve(reservation, [hold], Amount(nano=amount))
        assert (refused is None) == (spent + held + amount <= limit)
        if refused is None and settled is None:
            held += amount
        elif refused is None:
            assert store.settle(reservation, Amount(nano=settled or 0))
            spent += settled or 0
        assert store.totals(["a"])["a"] == BudgetTotals(spent_nano=spent, held_nano=held)
