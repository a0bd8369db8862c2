"""E023 and E024: vector stores that are in the database of the models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.core.checks import CheckMessage
from django.db import DatabaseError, connections

from django_obc_ai.checks.messages import error
from django_obc_ai.conf import find_errors
from django_obc_ai.indexes import VectorIndex, get_indexes
from django_obc_ai.indexes.held import is_in_database


def check_vector_databases(**_: Any) -> list[CheckMessage]:
    """E023: an index is to be searched in a database that cannot; connects to none."""
    if find_errors():
        return []
    return [
        error(
            "E023",
            f"The index {index.name!r} is to be searched by pgvector, and the database"
            f" {index.database!r} is {connections[index.database].display_name}.",
            "Use PostgreSQL with psycopg 3 there, or name another store in the index's"
            " vector_store.",
        )
        for index in _in_database()
        if not _can_be_searched(index)
    ]


def check_vector_extensions(
    *, databases: Sequence[str] | None = None, **_: Any
) -> list[CheckMessage]:
    """E024: a database lacks the extension; runs with ``check --database``."""
    if find_errors():
        return []
    from django_obc_ai.backends.vector_stores import _pgvector_tables as tables

    found: list[CheckMessage] = []
    wanted = {each.database for each in _in_database() if _can_be_searched(each)}
    for alias in sorted(wanted.intersection(databases or ())):
        try:
            version = tables.extension_version(alias)
        except DatabaseError:  # Django's own checks say that it does not answer
            continue
        if version and tables.is_recent(version):
            continue
        what = f"has pgvector {version}, older than 0.8" if version else "has no pgvector"
        found.append(error("E024", f"The database {alias!r} {what}.", tables.how_to_install(alias)))
    return found


def _in_database() -> Iterator[VectorIndex]:
    return (index for index in get_indexes() if is_in_database(index))


def _can_be_searched(index: VectorIndex) -> bool:
    if connections[index.database].vendor != "postgresql":
        return False
    # Imported here: it needs psycopg, which a project with another database need not have.
    from django.db.backends.postgresql.psycopg_any import is_psycopg3

    return bool(is_psycopg3)
