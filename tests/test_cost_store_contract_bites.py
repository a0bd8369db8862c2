"""The contract suite of cost stores finds the faults that matter."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from django_obc_ai.backends.cost_stores.memory import MemoryCostStore
from django_obc_ai.testing import CostStoreContract
from django_obc_ai.types import Amount, BudgetHold, BudgetTotals, ExpiredHold, Settlement
from tests.test_contracts_bite import failures


class NotAtomic(MemoryCostStore):
    """Looks first and takes later, like a read-modify-write without a lock."""

    def reserve(
        self,
        reservation: uuid.UUID,
        holds: Sequence[BudgetHold],
        amount: Amount,
        *,
        details: str = "",
    ) -> BudgetHold | None:
        totals = self.totals([hold.key for hold in holds])
        for hold in holds:
            used = totals[hold.key].spent_nano + totals[hold.key].held_nano
            if hold.limit_nano is not None and used + amount.of(hold.unit) > hold.limit_nano:
                return hold
        threading.Event().wait(0.01)
        free = [BudgetHold(key=hold.key, unit=hold.unit) for hold in holds]
        return super().reserve(reservation, free, amount, details=details)


class KeyByKey(MemoryCostStore):
    """Holds the first keys before it asks for the last."""

    def reserve(
        self,
        reservation: uuid.UUID,
        holds: Sequence[BudgetHold],
        amount: Amount,
        *,
        details: str = "",
    ) -> BudgetHold | None:
        for hold in holds:
            if refused := super().reserve(uuid.uuid4(), [hold], amount, details=details):
                return refused
        return None


class Unlimited(MemoryCostStore):
    def reserve(
        self, reservation: Any, holds: Any, amount: Amount, *, details: str = ""
    ) -> BudgetHold | None:
        return super().reserve(
            reservation, [BudgetHold(key=h.key) for h in holds], amount, details=details
        )


class CountsTwice(MemoryCostStore):
    def reserve(
        self, reservation: Any, holds: Any, amount: Amount, *, details: str = ""
    ) -> BudgetHold | None:
        self._closed.clear()
        return super().reserve(reservation, holds, amount, details=details)


class KeepsHolds(MemoryCostStore):
    def settle(self, reservation: Any, amount: Amount) -> Settlement | None:
        held = self._open.get(reservation)
        settled = super().settle(reservation, amount)
        for hold in held.holds if held else ():
            self._held[hold.key] += held.amount.of(hold.unit)
        return settled


class CapsAtHold(MemoryCostStore):
    def settle(self, reservation: Any, amount: Amount) -> Settlement | None:
        held = self._open.get(reservation)
        most = held.amount.nano if held else 0
        return super().settle(reservation, replace(amount, nano=min(most, amount.nano)))


class InDollars(MemoryCostStore):
    """Keeps floats, which lose a nano-dollar beside a million dollars."""

    def totals(self, keys: Sequence[str]) -> dict[str, BudgetTotals]:
        found = super().totals(keys)
        return {
            key: BudgetTotals(
                spent_nano=int(np.float32(total.spent_nano)), held_nano=total.held_nano
            )
            for key, total in found.items()
        }


class SettlesAnything(MemoryCostStore):
    def settle(self, reservation: Any, amount: Amount) -> Settlement | None:
        return super().settle(reservation, amount) or Settlement(totals={})


class GivesExpiredBack(MemoryCostStore):
    """What most stores do with a lease that ended; the money may be spent."""

    def expire(self) -> list[ExpiredHold]:
        expired = super().expire()
        for each in expired:
            self.settle(each.reservation, Amount())
        return expired


class TellsExpiredOnce(MemoryCostStore):
    def expire(self) -> list[ExpiredHold]:
        expired = super().expire()
        self.confirm([each.reservation for each in expired])
        return expired


class ForgetsLateSettles(MemoryCostStore):
    def settle(self, reservation: Any, amount: Amount) -> Settlement | None:
        return None if reservation in self._expired else super().settle(reservation, amount)


class RenewsNothing(MemoryCostStore):
    def renew(self) -> None:
        pass


class DropsHoldsInRebuild(MemoryCostStore):
    def rebuild(self, read: Any, *, is_new: bool = False) -> bool:
        self._held.clear()
        return super().rebuild(read, is_new=is_new)


class LastFullKey(MemoryCostStore):
    def reserve(
        self, reservation: Any, holds: Any, amount: Amount, *, details: str = ""
    ) -> BudgetHold | None:
        return super().reserve(reservation, holds[::-1], amount, details=details)


@pytest.mark.parametrize(
    ("backend", "found_by"),
    [
        (NotAtomic, "test_many_threads_never_pass_the_limit"),
        (KeyByKey, "test_a_refused_key_holds_nothing_under_the_others"),
        (Unlimited, "test_reserve_refuses_what_would_pass_a_limit"),
        (CountsTwice, "test_repeated_steps_change_nothing"),
        (KeepsHolds, "test_reserve_holds_and_settle_spends"),
        (CapsAtHold, "test_more_may_be_settled_than_was_held"),
        (InDollars, "test_keys_without_a_limit_only_count"),
        (SettlesAnything, "test_unknown_reservations_are_not_settled"),
        (GivesExpiredBack, "test_a_hold_whose_lease_ends_is_spent_at_its_ceiling"),
        (TellsExpiredOnce, "test_expired_holds_are_told_until_they_are_confirmed"),
        (ForgetsLateSettles, "test_a_late_settle_corrects_the_ceiling_once"),
        (RenewsNothing, "test_renewed_leases_last_longer"),
        (DropsHoldsInRebuild, "test_rebuilding_replaces_what_is_spent_and_keeps_what_is_held"),
        (LastFullKey, "test_the_first_full_key_in_the_order_given_is_named"),
    ],
)
def test_a_broken_cost_store_fails_its_suite(backend: type, found_by: str) -> None:
    assert found_by in failures(CostStoreContract, "make_store", backend)
