"""A cost store in the project's database: right under concurrency, no service needed."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import (
    DatabaseError,
    IntegrityError,
    InterfaceError,
    connections,
    models,
    transaction,
)
from django.db.models import F, Value, sql

from django_obc_ai.backends.cost_stores.base import BaseCostStore, owner_of_process
from django_obc_ai.conf import get_settings
from django_obc_ai.exceptions import CostStoreError
from django_obc_ai.models import CostReservation, CostTotal
from django_obc_ai.models.connections import persist
from django_obc_ai.types import Amount, BudgetHold, BudgetTotals, ExpiredHold, Settlement


class _RefusedError(Exception):
    """Rolls the whole reservation back when keys are full, or not there yet."""

    def __init__(self, keys: list[str]) -> None:
        super().__init__(*keys)
        self.keys = keys


class DatabaseCostStore(BaseCostStore):
    """Totals as rows that only conditional UPDATEs change, keys locked in sorted order.

    Inside a caller's transaction a reservation is refused: it would be rolled back with
    the caller, and its row locks would last as long as the provider's answer.
    """

    def __init__(self, *, lease_seconds: float = 120.0) -> None:
        """Keep the lease; nothing is looked up."""
        self.lease_seconds = lease_seconds

    def _moment(self, seconds: float = 0.0) -> datetime.datetime:
        now = self.clock() if self.clock is not None else time.time()
        moment = datetime.datetime.fromtimestamp(now + seconds, datetime.UTC)
        return moment if settings.USE_TZ else moment.replace(tzinfo=None)

    def reserve(
        self, reservation: UUID, holds: Sequence[BudgetHold], amount: Amount, *, details: str = ""
    ) -> BudgetHold | None:
        """See `BaseCostStore.reserve`."""
        alias = get_settings().database
        _refuse_inside_transaction(alias)
        in_order = sorted(holds, key=lambda hold: hold.key)
        row = (
            reservation,
            {hold.key: hold.unit for hold in holds},
            amount.nano,
            amount.tokens,
            amount.requests,
            owner_of_process(),
            self._moment(self.lease_seconds),
            details,
            self._moment(),
        )
        connection = connections[alias]

        def work() -> None:
            with transaction.atomic(using=alias), connection.cursor() as cursor:
                # Totals first: on SQLite the UPDATE takes the write lock before any read.
                full = []
                for hold in in_order:
                    part, limit = amount.of(hold.unit), hold.limit_nano
                    values: list[Any] = [part, hold.key]
                    values += [] if limit is None else [limit - part]
                    statement = _hold_statement(alias, connection.vendor, limit is not None)
                    cursor.execute(statement, values)
                    if not cursor.rowcount:
                        full.append(hold.key)
                if full:
                    raise _RefusedError(full)
                statement, convert = _insert_statement(alias, connection.vendor)
                cursor.execute(statement, convert(row))

        def hold_or_make() -> None:
            try:
                work()
            except _RefusedError as refusal:
                # Few keys are new, so they are looked for only now.
                known = CostTotal.objects.filter(pk__in=refusal.keys).values_list("pk", flat=True)
                if not (missing := set(refusal.keys) - set(known)):
                    raise
                CostTotal.objects.bulk_create(
                    [CostTotal(key=key) for key in sorted(missing)], ignore_conflicts=True
                )
                work()

        with _translated(alias, "hold the call's budget", "nothing was sent. Try again"):
            try:
                persist(alias, hold_or_make)
            except _RefusedError as refusal:
                if CostReservation.objects.filter(pk=reservation).exists():
                    return None  # a repetition, which does not fit a second time
                return next(hold for hold in holds if hold.key in refusal.keys)
            except IntegrityError:
                if not CostReservation.objects.filter(pk=reservation).exists():
                    raise
        return None

    def settle(self, reservation: UUID, amount: Amount) -> Settlement | None:
        """See `BaseCostStore.settle`.

        Raises:
            CostStoreError: The database failed; the hold stays and counts as spent.
        """
        alias = get_settings().database

        def work() -> Settlement | None:
            with transaction.atomic(using=alias):
                rows = CostReservation.objects.filter(pk=reservation)
                was_expired = False
                if not rows.filter(is_open=True).update(is_open=False):
                    # What was booked at its ceiling is corrected once.
                    was_expired = bool(rows.filter(is_expired=True).update(is_expired=False))
                    if not was_expired:
                        return None
                held = rows.get()
                ceiling = _amount(held)
                for key in sorted(held.keys):
                    part, cost = ceiling.of(held.keys[key]), amount.of(held.keys[key])
                    CostTotal.objects.filter(pk=key).update(
                        held_nano=F("held_nano") - (0 if was_expired else part),
                        spent_nano=F("spent_nano") + cost - (part if was_expired else 0),
                    )
                return Settlement(totals=_totals(held.keys), was_expired=was_expired)

        with _translated(alias, "settle a call", "its hold stays and counts as spent"):
            return persist(alias, work)

    def renew(self) -> None:
        """See `BaseCostStore.renew`."""
        alias = get_settings().database
        mine = CostReservation.objects.filter(is_open=True, owner=owner_of_process())
        with _translated(alias, "renew leases", "they end by themselves"):
            persist(alias, lambda: mine.update(lease_until=self._moment(self.lease_seconds)))

    def totals(self, keys: Sequence[str]) -> dict[str, BudgetTotals]:
        """See `BaseCostStore.totals`.

        Raises:
            CostStoreError: The database failed.
        """
        with _translated(get_settings().database, "say what is spent", "try again"):
            return _totals(keys)

    def expire(self) -> list[ExpiredHold]:
        """See `BaseCostStore.expire`."""
        alias = get_settings().database
        due = CostReservation.objects.filter(is_open=True, lease_until__lte=self._moment())

        def book(held: CostReservation) -> None:
            with transaction.atomic(using=alias):
                if not due.filter(pk=held.pk).update(is_open=False, is_expired=True):
                    return  # settled or renewed meanwhile
                for key in sorted(held.keys):
                    part = _amount(held).of(held.keys[key])
                    CostTotal.objects.filter(pk=key).update(
                        held_nano=F("held_nano") - part, spent_nano=F("spent_nano") + part
                    )

        with _translated(alias, "end leases", "what is held stays held"):
            for held in list(due):
                persist(alias, lambda held=held: book(held))  # type: ignore[misc]  # bound early
            rows = CostReservation.objects.filter(is_expired=True, is_confirmed=False)
            return [
                ExpiredHold(
                    reservation=row.pk, amount=_amount(row), owner=row.owner, details=row.details
                )
                for row in rows.order_by("created_at")
            ]

    def confirm(self, reservations: Sequence[UUID]) -> None:
        """See `BaseCostStore.confirm`."""
        alias = get_settings().database
        rows = CostReservation.objects.filter(pk__in=reservations)
        with _translated(alias, "note expired holds", "they are reported again"):
            persist(alias, lambda: rows.update(is_confirmed=True))

    def rebuild(self, read: Callable[[], Mapping[str, int]], *, is_new: bool = False) -> bool:
        """See `BaseCostStore.rebuild`.

        What is settled while the ledger is read is added to what was read: a call may then
        count twice, and none is forgotten.
        """
        alias = get_settings().database
        with _translated(alias, "rebuild its totals", "they stay as they were"):
            before = dict(CostTotal.objects.values_list("key", "spent_nano"))
            spent = read()
            with transaction.atomic(using=alias):
                for key in sorted(spent):
                    CostTotal.objects.get_or_create(key=key)
                    CostTotal.objects.filter(pk=key).update(
                        spent_nano=F("spent_nano") + spent[key] - before.get(key, 0)
                    )
        return True


def _amount(row: CostReservation) -> Amount:
    return Amount(nano=row.amount_nano, tokens=row.amount_tokens, requests=row.amount_requests)


def _totals(keys: Mapping[str, str] | Sequence[str]) -> dict[str, BudgetTotals]:
    rows = CostTotal.objects.in_bulk(list(keys))
    return {
        key: BudgetTotals(spent_nano=rows[key].spent_nano, held_nano=rows[key].held_nano)
        if key in rows
        else BudgetTotals()
        for key in keys
    }


# Every paid call runs these statements, and the ORM takes longer to make them than the database
# takes to run them. So they are made once; their parameters come in the order of the statement.
@cache
def _hold_statement(alias: str, vendor: str, is_limited: bool) -> str:
    rows = CostTotal.objects.filter(pk="")
    if is_limited:
        rows = rows.filter(spent_nano__lte=Value(1) - F("held_nano"))
    query: Any = rows.query.chain(sql.UpdateQuery)  # Any: the stubs say Query
    query.add_update_values({"held_nano": F("held_nano") + Value(1)})
    statement: str = query.get_compiler(connection=connections[alias]).as_sql()[0]
    return statement


#: What is said of a new reservation, in the order of its values; all else is the default.
_GIVEN = ("id", "keys", "amount_nano", "amount_tokens", "amount_requests", "owner", "lease_until",
          "details", "created_at")  # fmt: skip


@cache
def _insert_statement(alias: str, vendor: str) -> tuple[str, Callable[[Sequence[Any]], list[Any]]]:
    """Return the INSERT, and what makes its parameters of the values of `_GIVEN`."""
    connection, blank = connections[alias], CostReservation()
    named = {field.name: field for field in CostReservation._meta.concrete_fields}
    fields = [named.pop(name) for name in _GIVEN]
    rest = list(named.values())
    query = sql.InsertQuery(CostReservation)
    query.insert_values([*fields, *rest], [blank], raw=True)
    compiler: Any = query.get_compiler(connection=connection)
    statement: str = compiler.as_sql()[0][0]
    tail = [each.get_db_prep_save(getattr(blank, each.attname), connection) for each in rest]
    # Numbers and texts go as they are.
    prepared = [
        (at, field)
        for at, field in enumerate(fields)
        if not isinstance(field, (models.BigIntegerField, models.CharField, models.TextField))
    ]

    def convert(row: Sequence[Any]) -> list[Any]:
        values = [*row, *tail]
        for at, field in prepared:
            values[at] = field.get_db_prep_save(values[at], connections[alias])
        return values

    return statement, convert


@contextmanager
def _translated(alias: str, task: str, outcome: str) -> Iterator[None]:
    try:
        yield
    except (DatabaseError, InterfaceError) as error:
        raise CostStoreError(
            f"The database {alias!r} could not {task} ({type(error).__name__}); {outcome}."
        ) from error


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
