"""A cost store in this process's memory: for tests and single-process scripts."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import ClassVar
from uuid import UUID

from django_obc_ai.backends.cost_stores.base import BaseCostStore
from django_obc_ai.types import BudgetHold, BudgetTotals

_REMEMBERED = 65_536  # closed reservations whose repetition is recognised


class MemoryCostStore(BaseCostStore):
    """Totals in a dictionary under a lock; every process has its own."""

    is_shared: ClassVar[bool] = False

    def __init__(self) -> None:
        """Start with nothing spent."""
        self._lock = threading.Lock()
        self._spent: dict[str, int] = {}
        self._held: dict[str, int] = {}
        self._open: dict[UUID, tuple[tuple[str, ...], int]] = {}
        self._closed: dict[UUID, None] = {}  # the latest ones, oldest first

    def reserve(
        self, reservation: UUID, holds: Sequence[BudgetHold], amount_nano: int
    ) -> BudgetHold | None:
        """See `BaseCostStore.reserve`."""
        with self._lock:
            if reservation in self._open or reservation in self._closed:
                return None
            for hold in holds:
                total = self._spent.get(hold.key, 0) + self._held.get(hold.key, 0)
                if hold.limit_nano is not None and total + amount_nano > hold.limit_nano:
                    return hold
            for hold in holds:
                self._held[hold.key] = self._held.get(hold.key, 0) + amount_nano
            self._open[reservation] = (tuple(hold.key for hold in holds), amount_nano)
            return None

    def settle(self, reservation: UUID, amount_nano: int) -> bool:
        """See `BaseCostStore.settle`."""
        with self._lock:
            if reservation not in self._open:
                return False
            keys, held = self._open.pop(reservation)
            self._closed[reservation] = None
            if len(self._closed) > _REMEMBERED:
                del self._closed[next(iter(self._closed))]
            for key in keys:
                self._held[key] -= held
                self._spent[key] = self._spent.get(key, 0) + amount_nano
            return True

    def totals(self, keys: Sequence[str]) -> dict[str, BudgetTotals]:
        """See `BaseCostStore.totals`."""
        with self._lock:
            return {
                key: BudgetTotals(
                    spent_nano=self._spent.get(key, 0), held_nano=self._held.get(key, 0)
                )
                for key in keys
            }
