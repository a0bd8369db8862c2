"""A cost store in one SQLite file, apart from the project's databases."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

from django_obc_ai.backends.cost_stores import BaseCostStore
from django_obc_ai.exceptions import CostStoreError
from django_obc_ai.types import BudgetHold, BudgetTotals

_TABLES = """
CREATE TABLE IF NOT EXISTS total (key TEXT PRIMARY KEY, spent INTEGER, held INTEGER);
CREATE TABLE IF NOT EXISTS reservation
    (id TEXT PRIMARY KEY, keys TEXT, amount INTEGER, open INTEGER);
"""


class SQLiteCostStore(BaseCostStore):
    """Totals and reservations of all processes that name the same file."""

    def __init__(self, *, path: str | Path) -> None:
        """Keep the path; the file is made at the first use."""
        self._path = Path(path)

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
        self, reservation: UUID, holds: Sequence[BudgetHold], amount_nano: int
    ) -> BudgetHold | None:
        """See `BaseCostStore.reserve`."""
        with self._transaction() as connection:
            known = "SELECT 1 FROM reservation WHERE id = ?"
            if connection.execute(known, [str(reservation)]).fetchone():
                return None
            for hold in holds:
                used = sum(_read(connection, hold.key))
                if hold.limit_nano is not None and used + amount_nano > hold.limit_nano:
                    return hold
            for hold in holds:
                _add(connection, hold.key, held=amount_nano)
            keys = json.dumps([hold.key for hold in holds])
            row = [str(reservation), keys, amount_nano]
            connection.execute("INSERT INTO reservation VALUES (?, ?, ?, 1)", row)
            return None

    def settle(self, reservation: UUID, amount_nano: int) -> bool:
        """See `BaseCostStore.settle`."""
        with self._transaction() as connection:
            known = "SELECT keys, amount FROM reservation WHERE id = ? AND open"
            found = connection.execute(known, [str(reservation)]).fetchone()
            if found is None:
                return False
            keys, held = found
            for key in json.loads(keys):
                _add(connection, key, spent=amount_nano, held=-held)
            connection.execute("UPDATE reservation SET open = 0 WHERE id = ?", [str(reservation)])
            return True

    def totals(self, keys: Sequence[str]) -> dict[str, BudgetTotals]:
        """See `BaseCostStore.totals`."""
        with self._transaction() as connection:
            rows = {key: _read(connection, key) for key in keys}
        return {
            key: BudgetTotals(spent_nano=spent, held_nano=held)
            for key, (spent, held) in rows.items()
        }


def _read(connection: sqlite3.Connection, key: str) -> tuple[int, int]:
    query = "SELECT spent, held FROM total WHERE key = ?"
    return connection.execute(query, [key]).fetchone() or (0, 0)


def _add(connection: sqlite3.Connection, key: str, *, spent: int = 0, held: int = 0) -> None:
    connection.execute("INSERT OR IGNORE INTO total VALUES (?, 0, 0)", [key])
    change = "UPDATE total SET spent = spent + ?, held = held + ? WHERE key = ?"
    connection.execute(change, [spent, held, key])
