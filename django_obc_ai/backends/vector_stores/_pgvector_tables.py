"""The tables of the pgvector store: one for each generation, made and dropped with it.

A table is named after its generation, so that two indexes, two builds or two schemas never meet,
and a generation that retires goes with one DROP instead of a million dead rows. Its columns have
the exact type of the vectors and of the keys: the index needs no cast, and a queryset of the
model's own table joins on it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from django.db import (
    DatabaseError,
    OperationalError,
    ProgrammingError,
    connections,
    transaction,
)

from django_obc_ai.exceptions import ConfigurationError, IndexNotReadyError

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

VECTOR, HALFVEC = "vector", "halfvec"
#: Dimensions up to which pgvector builds an HNSW index, by type.
HNSW_DIMENSIONS = {VECTOR: 2_000, HALFVEC: 4_000}
#: From this version on, an index goes on until enough rows pass a filter.
LEAST_VERSION = (0, 8)
_BYTES = {VECTOR: 4, HALFVEC: 2}
#: Longer rows would not fit beside their key on one page of 8 kB.
_PLAIN_BYTES = 7_000
_PREFIX = "django_obc_ai_vectors_"
_NO_TABLE = "42P01"
_PATIENCE = "5s"

_EXTENSION = "SELECT extversion FROM pg_extension WHERE extname = 'vector'"
_COLUMNS = (
    "SELECT string_agg(format_type(atttypid, atttypmod), ' ' ORDER BY attnum) FROM pg_attribute"
    " WHERE attrelid = to_regclass(%s) AND attname IN ('object_key', 'embedding')"
)
_CREATE = (
    "CREATE TABLE {table} (chunk_id bigint PRIMARY KEY, object_key {key_type} NOT NULL,"
    " embedding {column_type} NOT NULL)"
)
_STORE_PLAIN = "ALTER TABLE {table} ALTER COLUMN embedding SET STORAGE PLAIN"
_INDEX_KEYS = "CREATE INDEX {keys} ON {table} (object_key)"
_DROP = "DROP TABLE IF EXISTS {table}"
_LEFT_OVER = (
    "SELECT c.relname FROM pg_class c WHERE c.relkind = 'r'"
    " AND c.relnamespace = current_schema()::regnamespace AND left(c.relname, 22) = %s"
    " AND NOT EXISTS (SELECT FROM django_obc_ai_indexgeneration g"
    " WHERE replace(g.id::text, '-', '') = substr(c.relname, 23))"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """The types of a table's columns.

    Attributes:
        key: "bigint", "uuid" or "text".
        type: "vector" or "halfvec".
        dimension: Components of a vector.
    """

    key: str
    type: str
    dimension: int

    def is_like(self, other: Columns) -> bool:
        """Return whether the same vectors are found by the same keys, in whatever precision."""
        return (self.key, self.dimension) == (other.key, other.dimension)

    @property
    def stores_plain(self) -> bool:
        """Return whether vectors fit on a page as they are, where a scan reads them at once."""
        return self.dimension * _BYTES[self.type] <= _PLAIN_BYTES


def name_of(generation: UUID) -> str:
    """Return the name of a generation's table."""
    return f"{_PREFIX}{generation.hex}"


def quoted(alias: str, template: str, **names: str) -> str:
    """Return a statement with names in it, quoted."""
    quote = connections[alias].ops.quote_name
    return template.format(**{key: quote(name) for key, name in names.items()})


def is_postgres(alias: str) -> bool:
    """Return whether a database is PostgreSQL; does not connect."""
    return connections[alias].vendor == "postgresql"


def extension_version(alias: str) -> str:
    """Return the version of the extension in a database, "" if it is not there."""
    with connections[alias].cursor() as cursor:
        cursor.execute(_EXTENSION)
        row = cursor.fetchone()
    return row[0] if row else ""


def is_recent(version: str) -> bool:
    """Return whether a version of the extension can do what the store needs."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2]) >= LEAST_VERSION


def how_to_install(alias: str) -> str:
    """Return what to do where the extension is missing or old."""
    name = connections[alias].settings_dict["NAME"]
    return (
        "Install pgvector 0.8 or later on the server (packages are named postgresql-NN-pgvector);"
        f" then, as a superuser or the owner of the database {name!r}, in it. Run:"
        " CREATE EXTENSION IF NOT EXISTS vector; ALTER EXTENSION vector UPDATE"
    )


def ensure_extension(alias: str) -> None:
    """Make sure that a database has the extension.

    Raises:
        ConfigurationError: It is no PostgreSQL, or the extension is missing and may not be
            created, or it is too old. The hint says what to run.
    """
    if not is_postgres(alias):
        raise ConfigurationError(
            f"PgvectorVectorStore needs PostgreSQL; the database {alias!r} is"
            f" {connections[alias].display_name}.",
            hint="Choose FaissVectorStore, or move the indexed models to PostgreSQL.",
            check_id="E023",
        )
    version = extension_version(alias)
    if not version:
        try:
            with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
                cursor.execute("CREATE EXTENSION IF NOT EXISTS vector")
        except DatabaseError as error:
            raise ConfigurationError(
                f"The database {alias!r} has no extension 'vector', and Django's role cannot"
                " create it.",
                hint=how_to_install(alias),
                check_id="E024",
            ) from error
        version = extension_version(alias)
    if not is_recent(version):
        raise ConfigurationError(
            f"The extension 'vector' of the database {alias!r} is {version}; 0.8 is needed.",
            hint=how_to_install(alias),
            check_id="E024",
        )


def columns_of(alias: str, generation: UUID) -> Columns | None:
    """Return what columns a generation's table has; None if there is no table."""
    with connections[alias].cursor() as cursor:
        cursor.execute(_COLUMNS, [name_of(generation)])
        return read_columns(cursor.fetchone()[0])


def read_columns(found: str | None) -> Columns | None:
    """Return the columns that PostgreSQL describes as "bigint vector(384)"."""
    if found is None:
        return None
    key, _, rest = found.partition(" ")
    kind, _, dimension = rest.rpartition(".")[2].rstrip(")").partition("(")
    return Columns(key=key, type=kind, dimension=int(dimension or 0))


def create(alias: str, generation: UUID, columns: Columns) -> None:
    """Make the table of a generation, empty.

    Raises:
        ConfigurationError: See `ensure_extension`.
    """
    ensure_extension(alias)
    table = name_of(generation)
    statement = quoted(
        alias,
        _CREATE.replace("{key_type}", columns.key).replace(
            "{column_type}", f"{columns.type}({columns.dimension})"
        ),
        table=table,
    )
    plain = quoted(alias, _STORE_PLAIN, table=table)
    keys = quoted(alias, _INDEX_KEYS, table=table, keys=f"django_obc_ai_vkey_{generation.hex}")
    try:
        with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
            cursor.execute(statement)
            if columns.stores_plain:
                cursor.execute(plain)
            cursor.execute(keys)
    except ProgrammingError as error:
        if not is_forbidden(error):
            raise
        raise ConfigurationError(
            f"The role of the database {alias!r} may not make the table {table} for pgvector.",
            hint="Run manage.py ai_index as a role that may create tables in the schema, and let"
            " this one read and write them (ALTER DEFAULT PRIVILEGES).",
        ) from error


def drop(alias: str, generation: UUID) -> bool:
    """Drop the table of a generation; False if searches hold on to it for too long.

    Whoever waits for a table lets everybody behind it wait, too; so nobody waits long.
    """
    return _drop_named(alias, name_of(generation))


def _drop_named(alias: str, table: str) -> bool:
    statement = quoted(alias, _DROP, table=table)
    try:
        with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
            cursor.execute("SELECT current_setting('lock_timeout')")
            before = cursor.fetchone()[0]
            cursor.execute("SELECT set_config('lock_timeout', %s, true)", [_PATIENCE])
            cursor.execute(statement)
            cursor.execute("SELECT set_config('lock_timeout', %s, true)", [before])
    except OperationalError:
        return False
    except ProgrammingError as error:
        if is_forbidden(error):  # its owner removes it
            return False
        raise
    return True


@contextmanager
def impatient(alias: str, patience: str) -> Iterator[None]:
    """Let statements of a connection wait for locks no longer than that, such as "1s"."""
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, false)", [patience])
    try:
        yield
    finally:
        with connections[alias].cursor() as cursor:
            cursor.execute("RESET lock_timeout")


def is_lock_timeout(error: DatabaseError) -> bool:
    """Return whether an error says that a lock was waited for too long."""
    return getattr(error.__cause__, "sqlstate", "") == "55P03"


def is_forbidden(error: DatabaseError) -> bool:
    """Return whether the role of a connection may not do what was tried."""
    return getattr(error.__cause__, "sqlstate", "") == "42501"


def drop_left_over(alias: str) -> int:
    """Drop tables whose generation is gone, as after a flush; return how many there were."""
    with connections[alias].cursor() as cursor:
        cursor.execute(_LEFT_OVER, [_PREFIX])
        names = [row[0] for row in cursor.fetchall()]
    return sum(_drop_named(alias, name) for name in names)


@contextmanager
def missing_table_told(index: str) -> Iterator[None]:
    """Turn the error about a table that is gone into one that means: look again."""
    try:
        yield
    except DatabaseError as error:
        if is_missing_table(error):
            raise IndexNotReadyError(
                f"The table of the index {index!r} was dropped just now."
            ) from error
        raise


def is_missing_table(error: DatabaseError) -> bool:
    """Return whether an error says that a table is not there."""
    return getattr(error.__cause__, "sqlstate", "") == _NO_TABLE


def is_in_transaction(alias: str) -> bool:
    """Return whether a statement does not commit by itself."""
    connection = connections[alias]
    return connection.in_atomic_block or not connection.get_autocommit()


def binds_itself(connection: BaseDatabaseWrapper) -> bool:
    """Return whether psycopg binds parameters itself, so that statements can go together."""
    options = connection.settings_dict.get("OPTIONS", {})
    return not options.get("server_side_binding", False)
