"""The contract of a cost store."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar
from uuid import UUID

from django_obc_ai.backends.base import BaseBackend
from django_obc_ai.types import BudgetHold, BudgetTotals


class BaseCostStore(BaseBackend, ABC):
    """Atomic totals of what budgets have spent and hold, in integer nano-dollars.

    `reserve` is the only way money may be promised: it admits an amount to all of its
    keys or to none, so that spent + held never passes a limit, whoever else reserves at
    the same time. Every method is idempotent by the reservation's id.
    """

    #: Do all processes of the project see the same totals?
    is_shared: ClassVar[bool] = True

    @abstractmethod
    def reserve(
        self, reservation: UUID, holds: Sequence[BudgetHold], amount_nano: int
    ) -> BudgetHold | None:
        """Hold an amount under all keys at once.

        Args:
            reservation: Chosen by the caller; a repeated id changes nothing.
            holds: Keys with their limits, each key once.
            amount_nano: Upper bound of what the call can cost, at least 0.

        Returns:
            None if admitted; else the first hold, in the order given, whose limit the
            amount would pass. Nothing is held then.

        Raises:
            CostStoreError: The store cannot be asked; treat it as a refusal.
        """

    @abstractmethod
    def settle(self, reservation: UUID, amount_nano: int) -> bool:
        """Turn a hold into money spent, of any amount from 0 up.

        Returns:
            True if the hold was open, False if it was closed before or is unknown.
        """

    def release(self, reservation: UUID) -> bool:
        """Give a hold back without spending; see settle() for the answer."""
        return self.settle(reservation, 0)

    @abstractmethod
    def totals(self, keys: Sequence[str]) -> dict[str, BudgetTotals]:
        """Return the totals of each key; zeros for keys never used."""
