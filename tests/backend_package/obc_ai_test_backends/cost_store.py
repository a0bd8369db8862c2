"""A cost store in one SQLite file, apart from the project's databases."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

from django_obc_ai.backends.cost_stores import BaseCostStore, owner_of_process
from django_obc_ai.exceptions import CostStoreError
from django_obc_ai.types import Amount, BudgetHold, BudgetTotals, ExpiredHold, Settlement

_TABLES = """
CREATE TABLE IF NOT EXISTS total (key TEXT PRIMARY KEY, spent INTEGER, held INTEGER);
CREATE TABLE IF NOT EXISTS reservation
    (id TEXT PRIMARY KEY, parts TEXT, amount TEXT, owner TEXT, due REAL, details TEXT, state TEXT);
"""


class SQLiteCostStore(BaseCostStore):
    """Totals and reservations of all processes that name the same file.

    A reservation is "open", then "settled"; or "expired", "confirmed", then "settled".
    """

    def __init__(self, *, path: str | Path) -> None:
        """Keep the path; the file is made at the first use."""
        self._path = Path(path)

    def _now(self) -> float:
        return self.clock() if self.clock is not None else time.time()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Hold the file's write lock: whatever is read stays true until the commit."""
        try:
            connection = sqlite3.connect(self._path, timeout=20, isolation_level=None)
            try:
                connection.executescript(_TABLES)
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
            finally:
                connection.close()  # rolls back what was not committed
        except sqlite3.Error as error:
            raise CostStoreError(
                f"The cost store's file cannot be used ({type(error).__name__})."
            ) from error

    def reserve(
        self, reservation: UUID, holds: Sequence[BudgetHold], amount: Amount, *, details: str = ""
    ) -> BudgetHold | None:
        """See `BaseCostStore.reserve`."""
        with self._transaction() as connection:
            known = "SELECT 1 FROM reservation WHERE id = ?"
            if connection.execute(known, [str(reservation)]).fetchone():
                return None
            for hold in holds:
                used = sum(_read(connection, hold.key)) + amount.of(hold.unit)
                if hold.limit_nano is not None and used > hold.limit_nano:
                    return hold
            parts = {hold.key: (hold.unit, amount.of(hold.unit)) for hold in holds}
            for key, (_, part) in parts.items():
                _add(connection, key, held=part)
            ceiling = [amount.nano, amount.tokens, amount.requests]
            due = self._now() + self.lease_seconds
            row = [str(reservation), json.dumps(parts), json.dumps(ceiling), owner_of_process()]
            row += [due, details, "open"]
            connection.execute("INSERT INTO reservation VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            return None

    def settle(self, reservation: UUID, amount: Amount) -> Settlement | None:
        """See `BaseCostStore.settle`."""
        with self._transaction() as connection:
            known = "SELECT parts, state FROM reservation WHERE id = ? AND state != 'settled'"
            found = connection.execute(known, [str(reservation)]).fetchone()
            if found is None:
                return None
            parts, was_expired = json.loads(found[0]), found[1] != "open"
            for key, (unit, part) in parts.items():
                # The ceiling of an expired one is spent already, not held.
                spent = amount.of(unit) - (part if was_expired else 0)
                _add(connection, key, spent=spent, held=0 if was_expired else -part)
            _mark(connection, reservation, "settled")
            return Settlement(totals=_totals(connection, list(parts)), was_expired=was_expired)

    def renew(self) -> None:
        """See `BaseCostStore.renew`."""
        with self._transaction() as connection:
            change = "UPDATE reservation SET due = ? WHERE state = 'open' AND owner = ?"
            connection.execute(change, [self._now() + self.lease_seconds, owner_of_process()])

    def totals(self, keys: Sequence[str]) -> dict[str, BudgetTotals]:
        """See `BaseCostStore.totals`."""
        with self._transaction() as connection:
            return _totals(connection, keys)

    def expire(self) -> list[ExpiredHold]:
        """See `BaseCostStore.expire`."""
        with self._transaction() as connection:
            due = "SELECT id, parts FROM reservation WHERE state = 'open' AND due <= ?"
            for name, parts in connection.execute(due, [self._now()]).fetchall():
                for key, (_, part) in json.loads(parts).items():
                    _add(connection, key, spent=part, held=-part)
                _mark(connection, UUID(name), "expired")
            told = "SELECT id, amount, owner, details FROM reservation WHERE state = 'expired'"
            rows = connection.execute(told).fetchall()
        return [
            ExpiredHold(
                reservation=UUID(row[0]), amount=_amount(row[1]), owner=row[2], details=row[3]
            )
            for row in rows
        ]

    def confirm(self, reservations: Sequence[UUID]) -> None:
        """See `BaseCostStore.confirm`."""
        with self._transaction() as connection:
            for reservation in reservations:
                _mark(connection, reservation, "confirmed", only="expired")

    def rebuild(self, read: Callable[[], Mapping[str, int]], *, is_new: bool = False) -> bool:
        """See `BaseCostStore.rebuild`; whoever settles meanwhile waits for the file's lock."""
        with self._transaction() as connection:
            for key, spent in read().items():
                _add(connection, key, spent=spent - _read(connection, key)[0])
        return True


def _amount(ceiling: str) -> Amount:
    nano, tokens, requests = json.loads(ceiling)
    return Amount(nano=nano, tokens=tokens, requests=requests)


def _mark(connection: sqlite3.Connection, reservation: UUID, state: str, only: str = "%") -> None:
    change = "UPDATE reservation SET state = ? WHERE id = ? AND state LIKE ?"
    connection.execute(change, [state, str(reservation), only])


def _totals(connection: sqlite3.Connection, keys: Sequence[str]) -> dict[str, BudgetTotals]:
    rows = {key: _read(connection, key) for key in keys}
    return {
        key: BudgetTotals(spent_nano=spent, held_nano=held) for key, (spent, held) in rows.items()
    }


def _read(connection: sqlite3.Connection, key: str) -> tuple[int, int]:
    query = "SELECT spent, held FROM total WHERE key = ?"
    return connection.execute(query, [key]).fetchone() or (0, 0)


def _add(connection: sqlite3.Connection, key: str, *, spent: int = 0, held: int = 0) -> None:
    connection.execute("INSERT OR IGNORE INTO total VALUES (?, 0, 0)", [key])
    change = "UPDATE total SET spent = spent + ?, held = held + ? WHERE key = ?"
    connection.execute(change, [spent, held, key])
