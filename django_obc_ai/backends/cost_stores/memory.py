"""A cost store in this process's memory: for tests and single-process scripts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID

from django_obc_ai.backends.cost_stores.base import BaseCostStore, owner_of_process
from django_obc_ai.types import Amount, BudgetHold, BudgetTotals, ExpiredHold, Settlement

_REMEMBERED = 65_536  # closed reservations whose repetition is recognised


@dataclass(slots=True)
class _Reservation:
    holds: tuple[BudgetHold, ...]
    amount: Amount
    due: float
    details: str
    is_confirmed: bool = False


class MemoryCostStore(BaseCostStore):
    """Totals in a dictionary under a lock; every process has its own."""

    is_shared: ClassVar[bool] = False

    def __init__(self, *, lease_seconds: float = 120.0) -> None:
        """Start with nothing spent."""
        self.lease_seconds = lease_seconds
        self._lock = threading.Lock()
        self._spent: dict[str, int] = {}
        self._held: dict[str, int] = {}
        self._open: dict[UUID, _Reservation] = {}
        self._expired: dict[UUID, _Reservation] = {}
        self._closed: dict[UUID, None] = {}  # the latest ones, oldest first

    def _now(self) -> float:
        return self.clock() if self.clock is not None else time.time()

    def reserve(
        self, reservation: UUID, holds: Sequence[BudgetHold], amount: Amount, *, details: str = ""
    ) -> BudgetHold | None:
        """See `BaseCostStore.reserve`."""
        with self._lock:
            if any(reservation in known for known in (self._open, self._expired, self._closed)):
                return None
            for hold in holds:
                total = self._spent.get(hold.key, 0) + self._held.get(hold.key, 0)
                if hold.limit_nano is not None and total + amount.of(hold.unit) > hold.limit_nano:
                    return hold
            for hold in holds:
                self._held[hold.key] = self._held.get(hold.key, 0) + amount.of(hold.unit)
            self._open[reservation] = _Reservation(
                tuple(holds), amount, self._now() + self.lease_seconds, details
            )
            return None

    def settle(self, reservation: UUID, amount: Amount) -> Settlement | None:
        """See `BaseCostStore.settle`."""
        with self._lock:
            was_expired = reservation in self._expired
            held = (self._expired if was_expired else self._open).pop(reservation, None)
            if held is None:
                return None
            self._closed[reservation] = None
            if len(self._closed) > _REMEMBERED:
                del self._closed[next(iter(self._closed))]
            for hold in held.holds:
                if was_expired:
                    self._spent[hold.key] -= held.amount.of(hold.unit)
                else:
                    self._held[hold.key] -= held.amount.of(hold.unit)
                self._spent[hold.key] = self._spent.get(hold.key, 0) + amount.of(hold.unit)
            keys = [hold.key for hold in held.holds]
            return Settlement(totals=self._totals(keys), was_expired=was_expired)

    def renew(self) -> None:
        """See `BaseCostStore.renew`."""
        with self._lock:
            for held in self._open.values():
                held.due = self._now() + self.lease_seconds

    def totals(self, keys: Sequence[str]) -> dict[str, BudgetTotals]:
        """See `BaseCostStore.totals`."""
        with self._lock:
            return self._totals(keys)

    def _totals(self, keys: Sequence[str]) -> dict[str, BudgetTotals]:
        return {
            key: BudgetTotals(spent_nano=self._spent.get(key, 0), held_nano=self._held.get(key, 0))
            for key in keys
        }

    def expire(self) -> list[ExpiredHold]:
        """See `BaseCostStore.expire`."""
        with self._lock:
            now = self._now()
            for reservation in [each for each, held in self._open.items() if held.due <= now]:
                held = self._expired[reservation] = self._open.pop(reservation)
                for hold in held.holds:
                    part = held.amount.of(hold.unit)
                    self._held[hold.key] -= part
                    self._spent[hold.key] = self._spent.get(hold.key, 0) + part
            return [
                ExpiredHold(
                    reservation=reservation,
                    amount=held.amount,
                    owner=owner_of_process(),
                    details=held.details,
                )
                for reservation, held in self._expired.items()
                if not held.is_confirmed
            ]

    def confirm(self, reservations: Sequence[UUID]) -> None:
        """See `BaseCostStore.confirm`."""
        with self._lock:
            for reservation in reservations:
                if reservation in self._expired:
                    self._expired[reservation].is_confirmed = True

    def rebuild(self, read: Callable[[], Mapping[str, int]], *, is_new: bool = False) -> bool:
        """See `BaseCostStore.rebuild`; reads under the lock, so nothing settles meanwhile."""
        with self._lock:
            self._spent.update(read())
            return True
