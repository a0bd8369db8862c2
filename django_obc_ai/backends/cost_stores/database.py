"""A cost store in the project's database: right under concurrency, no service needed."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from django.db import DatabaseError, InterfaceError, connections, transaction
from django.db.models import F

from django_obc_ai.backends.cost_stores.base import BaseCostStore
from django_obc_ai.conf import get_settings
from django_obc_ai.exceptions import CostStoreError
from django_obc_ai.models import CostReservation, CostTotal
from django_obc_ai.models.connections import persist
from django_obc_ai.types import BudgetHold, BudgetTotals


class _RefusedError(Exception):
    """Rolls the whole reservation back when one key is full."""

    def __init__(self, hold: BudgetHold) -> None:
        super().__init__(hold.key)
        self.hold = hold


class DatabaseCostStore(BaseCostStore):
    """Totals as rows that only conditional UPDATEs change, keys locked in sorted order.

    Inside a caller's transaction a reservation is refused: it would be rolled back with
    the caller, and its row locks would last as long as the provider's answer.
    """

    def reserve(
        self, reservation: UUID, holds: Sequence[BudgetHold], amount_nano: int
    ) -> BudgetHold | None:
        """See `BaseCostStore.reserve`."""
        alias = get_settings().database
        _refuse_inside_transaction(alias)
        keys = sorted(hold.key for hold in holds)

        def work() -> None:
            if CostReservation.objects.filter(pk=reservation).exists():
                return
            known = set(CostTotal.objects.filter(pk__in=keys).values_list("pk", flat=True))
            if missing := set(keys) - known:
                CostTotal.objects.bulk_create(
                    [CostTotal(key=key) for key in sorted(missing)], ignore_conflicts=True
                )
            with transaction.atomic(using=alias):
                # Totals first: on SQLite the UPDATE takes the write lock before any read.
                _hold_all(holds, amount_nano)
                CostReservation.objects.create(id=reservation, keys=keys, amount_nano=amount_nano)

        try:
            persist(alias, work)
        except _RefusedError as refusal:
            return refusal.hold
        except (DatabaseError, InterfaceError) as error:
            raise CostStoreError(
                f"The database {alias!r} could not hold the call's budget"
                f" ({type(error).__name__}), so nothing was sent. Try again."
            ) from error
        return None

    def settle(self, reservation: UUID, amount_nano: int) -> bool:
        """See `BaseCostStore.settle`.

        Raises:
            CostStoreError: The database failed; the hold stays and counts as spent.
        """
        alias = get_settings().database

        def work() -> bool:
            with transaction.atomic(using=alias):
                row = CostReservation.objects.filter(pk=reservation, is_open=True)
                if not row.update(is_open=False):
                    return False
                held = CostReservation.objects.get(pk=reservation)
                for key in held.keys:
                    CostTotal.objects.filter(pk=key).update(
                        held_nano=F("held_nano") - held.amount_nano,
                        spent_nano=F("spent_nano") + amount_nano,
                    )
                return True

        try:
            return persist(alias, work)
        except (DatabaseError, InterfaceError) as error:
            raise CostStoreError(
                f"The database {alias!r} could not settle a call ({type(error).__name__});"
                " its hold stays and counts as spent."
            ) from error

    def totals(self, keys: Sequence[str]) -> dict[str, BudgetTotals]:
        """See `BaseCostStore.totals`.

        Raises:
            CostStoreError: The database failed.
        """
        try:
            rows = CostTotal.objects.in_bulk(list(keys))
        except (DatabaseError, InterfaceError) as error:
            raise CostStoreError(
                f"The database {get_settings().database!r} could not say what is spent"
                f" ({type(error).__name__}). Try again."
            ) from error
        return {
            key: BudgetTotals(spent_nano=rows[key].spent_nano, held_nano=rows[key].held_nano)
            if key in rows
            else BudgetTotals()
            for key in keys
        }


def _hold_all(holds: Sequence[BudgetHold], amount_nano: int) -> None:
    """Hold an amount under every key, locking in sorted order, or raise `_RefusedError`."""
    ordered = sorted(holds, key=lambda hold: hold.key)
    full = [hold for hold in ordered if not _hold(hold, amount_nano)]
    if full:
        raise _RefusedError(min(full, key=holds.index))


def _hold(hold: BudgetHold, amount_nano: int) -> bool:
    rows = CostTotal.objects.filter(pk=hold.key)
    if hold.limit_nano is not None:
        rows = rows.filter(spent_nano__lte=hold.limit_nano - amount_nano - F("held_nano"))
    return bool(rows.update(held_nano=F("held_nano") + amount_nano))


def _refuse_inside_transaction(alias: str) -> None:
    connection = connections[alias]
    blocks = connection.atomic_blocks
    # A TestCase wraps each test in a transaction of its own; that one is no caller's.
    is_manual = not connection.in_atomic_block and not connection.get_autocommit()
    if is_manual or any(not getattr(block, "_from_testcase", False) for block in blocks):
        refusal = CostStoreError(
            f"A hard budget cannot be reserved inside a transaction on {alias!r}: a rollback"
            " would forget money that was spent. Call the model outside atomic() (and"
            " outside ATOMIC_REQUESTS), or give the ledger a database of its own with"
            " OBC_AI['DATABASE']."
        )
        refusal.retryable = False  # waiting does not end the caller's transaction
        raise refusal
