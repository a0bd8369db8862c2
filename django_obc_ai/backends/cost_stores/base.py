"""The contract of a cost store."""

from __future__ import annotations

import os
import socket
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar
from uuid import UUID

from django_obc_ai.backends.base import BaseBackend
from django_obc_ai.types import Amount, BudgetHold, BudgetTotals, ExpiredHold, Settlement

#: A pid alone comes back after a restart and is the same in two containers.
_identity: tuple[int, str] = (0, "")


def owner_of_process() -> str:
    """Return the identity of this process; a forked child has its own."""
    global _identity
    if _identity[0] != os.getpid():
        name = f"{socket.gethostname()[:60]}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        _identity = (os.getpid(), name)
    return _identity[1]


class BaseCostStore(BaseBackend, ABC):
    """Atomic totals of what budgets have spent and hold, as integers.

    Keys count nano-dollars, tokens or requests; an `Amount` has all three. `reserve` is the
    only way money may be promised: it admits an amount to all of its keys or to none, so
    that spent + held never passes a limit, whoever else reserves at the same time. Every
    method is idempotent by the reservation's id.

    A hold is presumed spent: one whose lease ends is not given back but booked at its
    ceiling by `expire`, and settling it later corrects that once.
    """

    #: Do all processes of the project see the same totals?
    is_shared: ClassVar[bool] = True
    #: How long a hold lasts without `renew`; longer than a provider's deadline.
    lease_seconds: float = 120.0
    #: Seconds since 1970, for tests; None is the store's own clock.
    clock: Callable[[], float] | None = None

    @property
    def server(self) -> str:
        """Name the Redis server, by its URL, to which one trip can bring others' scripts, too."""
        return ""

    @abstractmethod
    def reserve(
        self, reservation: UUID, holds: Sequence[BudgetHold], amount: Amount, *, details: str = ""
    ) -> BudgetHold | None:
        """Hold an amount under all keys at once.

        Args:
            reservation: Chosen by the caller; a repeated id changes nothing.
            holds: Keys with their limits, each key once.
            amount: Upper bound of what the call can take, nothing below 0.
            details: Kept with the hold for `expire`; no prompt, no answer.

        Returns:
            None if admitted; else the first hold, in the order given, whose limit the
            amount would pass. Nothing is held then.

        Raises:
            CostStoreLostError: Totals were lost and are not rebuilt yet.
            CostStoreError: The store cannot be asked; treat it as a refusal.
        """

    @abstractmethod
    def settle(self, reservation: UUID, amount: Amount) -> Settlement | None:
        """Turn a hold into money spent, of any amount from 0 up.

        Returns:
            The new totals if the hold was open, or had expired and is corrected now; None
            if it was settled before or is unknown.
        """

    def release(self, reservation: UUID) -> Settlement | None:
        """Give a hold back without spending; see settle() for the answer."""
        return self.settle(reservation, Amount())

    @abstractmethod
    def renew(self) -> None:
        """Begin the leases of this process's open holds anew.

        A store that was lost learns of them again.
        """

    @abstractmethod
    def totals(self, keys: Sequence[str]) -> dict[str, BudgetTotals]:
        """Return the totals of each key; zeros for keys never used."""

    @abstractmethod
    def expire(self) -> list[ExpiredHold]:
        """Book every hold whose lease has ended as spent, at its ceiling.

        Returns:
            All such holds that nobody has confirmed, earlier ones included, so that a
            process that dies after this call loses none.
        """

    @abstractmethod
    def confirm(self, reservations: Sequence[UUID]) -> None:
        """Note that these expired holds have their rows in the ledger."""

    @abstractmethod
    def rebuild(self, read: Callable[[], Mapping[str, int]], *, is_new: bool = False) -> bool:
        """Replace what is spent by what the ledger says; what is held stays.

        Args:
            read: Returns the amount spent by key. Keys that it leaves out keep their
                totals, unless the store was lost. What is settled while it runs is added.
            is_new: Nobody has used this store yet, so there are no calls to wait for.

        Returns:
            False if calls that were under way when the store was lost may still be unknown,
            or if another process rebuilds; nothing has changed then.
        """
