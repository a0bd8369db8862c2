"""What tells whether a restored database is the one that was backed up.

    python -m deploy.backups.fingerprint [--database ALIAS]     print it as JSON

Row counts of all tables, sums in nano-dollars of all columns that hold money, and the migrations.
All of it is read through one connection; whoever needs one moment opens a transaction first.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

#: Runs a SELECT and returns its rows.
Query = Callable[[str], list[tuple[Any, ...]]]

COLUMNS = {
    "sqlite": (
        "SELECT m.name, c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c"
        " WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
    ),
    "postgresql": (
        "SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
        " WHERE c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped"
        " AND NOT c.relispartition AND pg_table_is_visible(c.oid) AND c.relpersistence <> 't'"
        " AND c.relnamespace = ANY (current_schemas(false)::regnamespace[])"
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """What a database holds.

    Attributes:
        tables: Rows of each table.
        sums: Nano-dollars of each column of money, as "table.column".
        ledger: Which of them is the ledger: what all operations cost. None if there is none yet.
        migrations: Applied ones, as "app.name", in order of application.
    """

    tables: dict[str, int]
    sums: dict[str, int]
    ledger: str | None
    migrations: list[str]

    @property
    def ledger_nano(self) -> int | None:
        """What all operations in the ledger cost, in nano-dollars."""
        return None if self.ledger is None else self.sums[self.ledger]


def dollars(nano: int | None) -> str:
    """Return an amount as it is read: all nine decimals."""
    if nano is None:
        return "no ledger"
    return f"${nano // 10**9:,}.{nano % 10**9:09d}" if nano >= 0 else f"-{dollars(-nano)}"


def money_columns() -> tuple[list[str], str]:
    """Return the columns of money of the code at hand, and which one is the ledger."""
    from django.apps import apps

    from django_obc_ai.models import AIOperation
    from django_obc_ai.models.fields import NanoDollarField

    columns = [
        f"{model._meta.db_table}.{field.column}"
        for model in apps.get_app_config("django_obc_ai").get_models()
        for field in model._meta.concrete_fields
        if isinstance(field, NanoDollarField)
    ]
    return columns, f"{AIOperation._meta.db_table}.{AIOperation._meta.get_field('cost_usd').column}"


def take(query: Query, *, vendor: str, columns: Iterable[str], ledger: str | None) -> Fingerprint:
    """Read the fingerprint of a database.

    Args:
        query: Runs SELECTs on it.
        vendor: "sqlite" or "postgresql".
        columns: Columns of money; those that are not there are left out, since code may be ahead
            of its database.
        ledger: Which of them is the ledger.
    """
    there = {(table, column) for table, column in query(COLUMNS[vendor])}
    names = sorted({table for table, _ in there})
    tables = {name: int(query(f"SELECT COUNT(*) FROM {_quoted(name)}")[0][0]) for name in names}  # noqa: S608 - quoted
    sums = {}
    for each in columns:
        table, column = each.rsplit(".", 1)
        if (table, column) in there:
            found = query(f"SELECT COALESCE(SUM({_quoted(column)}), 0) FROM {_quoted(table)}")  # noqa: S608
            sums[each] = int(found[0][0])
    migrations = []
    if "django_migrations" in tables:
        rows = query("SELECT app, name FROM django_migrations ORDER BY id")
        migrations = [f"{app}.{name}" for app, name in rows]
    return Fingerprint(
        tables=tables,
        sums=sums,
        ledger=ledger if ledger in sums else None,
        migrations=migrations,
    )


def differences(expected: Fingerprint, found: Fingerprint) -> list[str]:
    """Say what is not as it should be, a line each; nothing if both are equal."""
    lines = []
    for name in sorted(expected.tables | found.tables):
        was, now = expected.tables.get(name), found.tables.get(name)
        if was != now:
            lines.append(
                f"table {name}: {_or_none(was)} rows were backed up, {_or_none(now)} found"
            )
    for name in sorted(expected.sums | found.sums):
        before, after = expected.sums.get(name), found.sums.get(name)
        if before != after:
            what = "ledger" if name == expected.ledger else f"sum of {name}"
            lines.append(f"{what}: {dollars(before)} backed up, {dollars(after)} found")
    if expected.migrations != found.migrations:
        lines.append("the applied migrations are others")
    return lines


def _or_none(number: int | None) -> str:
    return "no" if number is None else f"{number:,}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def main() -> None:
    """Print the fingerprint of a configured database."""
    import django

    parser = argparse.ArgumentParser(description="Print what a database holds, as JSON.")
    parser.add_argument("--database", default="default", metavar="ALIAS")
    alias = parser.parse_args().database
    django.setup()
    from django.db import connections

    columns, ledger = money_columns()
    connection = connections[alias]
    with connection.cursor() as cursor:

        def query(sql: str) -> list[tuple[Any, ...]]:
            cursor.execute(sql)
            return cursor.fetchall()

        found = take(query, vendor=connection.vendor, columns=columns, ledger=ledger)
    print(json.dumps({**asdict(found), "ledger_nano_dollars": found.ledger_nano}, indent=2))


if __name__ == "__main__":
    main()
