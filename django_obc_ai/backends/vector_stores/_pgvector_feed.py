"""Keeping a generation's table equal to its chunks, inside the transaction that changes them.

`IndexGeneration.held_version` says up to which version of its index a table is equal. Every write
of the index brings every held table on, whatever store the writing process is configured with,
so that a table is never behind, a rollback takes back both, and what is erased is gone from both.
A table is filled in steps; each takes the row lock that all writers of the index take, so that
they get in between, and two that fill at the same time share the work.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np
from django.db import DatabaseError, connections, transaction

from django_obc_ai.backends.vector_stores._pgvector_tables import (
    Columns,
    columns_of,
    create,
    drop,
    impatient,
    is_lock_timeout,
    name_of,
    quoted,
    read_columns,
)
from django_obc_ai.exceptions import IndexNotReadyError
from django_obc_ai.models.connections import apart

#: One chunk: id, object key, little-endian float32 vector.
Row = tuple[int, str, bytes]

_BATCH = 2_000
_LOWEST = -(2**63)
#: Of a filling beside a transaction, which may itself hold what is waited for.
_PATIENCE = "1s"
#: From so many rows on, the binary COPY is faster than its further round trip costs.
_ROWS_PER_COPY = 50
_COPY_HEAD = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_COPY_TAIL = b"\xff\xff"

_LOCK = "SELECT version FROM django_obc_ai_indexstate WHERE name = %s FOR NO KEY UPDATE"
_LOCK_BY_GENERATION = (
    "SELECT version FROM django_obc_ai_indexstate WHERE name ="
    " (SELECT index_id FROM django_obc_ai_indexgeneration WHERE id = %s) FOR NO KEY UPDATE"
)
_HELD = (
    "SELECT g.id, g.held_version,"
    " (SELECT string_agg(format_type(a.atttypid, a.atttypmod), ' ' ORDER BY a.attnum)"
    " FROM pg_attribute a WHERE a.attname IN ('object_key', 'embedding') AND a.attrelid ="
    " to_regclass('django_obc_ai_vectors_' || replace(g.id::text, '-', ''))),"
    " c.id, c.object_key, c.vector"
    " FROM django_obc_ai_indexgeneration g LEFT JOIN LATERAL"
    " (SELECT id, object_key, vector FROM django_obc_ai_chunk"
    " WHERE generation_id = g.id AND version > g.held_version ORDER BY version LIMIT %s) c ON true"
    " WHERE g.index_id = %s AND g.held_version IS NOT NULL"
)
_NEWER = (
    "SELECT id, object_key, vector FROM django_obc_ai_chunk"
    " WHERE generation_id = %s AND version > %s"
)
_STEP = (
    "WITH gone AS (DELETE FROM {table} AS v USING django_obc_ai_tombstone AS t"
    " WHERE t.generation_id = %s AND t.version > %s AND v.chunk_id = t.chunk_id),"
    " fresh AS (INSERT INTO {table} (chunk_id, object_key, embedding)"
    " SELECT new.id, new.key::{key_type}, new.vector::{type}"
    " FROM unnest(%s::bigint[], %s::text[], %s::text[]) AS new (id, key, vector)"
    " ON CONFLICT (chunk_id) DO NOTHING)"
    " UPDATE django_obc_ai_indexgeneration SET held_version = %s WHERE id = %s"
)
_COPY = "COPY {table} (chunk_id, object_key, embedding) FROM STDIN (FORMAT BINARY)"
_HIGHEST = "SELECT max(chunk_id) FROM {table}"
_NEXT = (
    "SELECT id, object_key, vector FROM django_obc_ai_chunk"
    " WHERE generation_id = %s AND id > %s ORDER BY id LIMIT %s"
)
_REMOVE_GONE = (
    "DELETE FROM {table} AS v WHERE NOT EXISTS (SELECT FROM django_obc_ai_chunk AS c"
    " WHERE c.id = v.chunk_id AND c.generation_id = %s)"
)
_MISSING = (
    "SELECT c.id, c.object_key, c.vector FROM django_obc_ai_chunk AS c"
    " LEFT JOIN {table} AS v ON v.chunk_id = c.id"
    " WHERE c.generation_id = %s AND v.chunk_id IS NULL AND c.id > %s ORDER BY c.id LIMIT %s"
)
_ANALYZE = "ANALYZE {table}"


@dataclass(slots=True)
class _Held:
    version: int
    columns: Columns | None
    rows: list[Row]


def feed(alias: str, index: str, version: int, *, key: str) -> None:
    """Bring every held table of an index up to a version, inside its write.

    Args:
        alias: The index's database.
        index: Its name.
        version: The version of the write; the index's row is locked.
        key: The type that keys have in tables now; a table with another one is let go.
    """
    for generation, held in _held(alias, index).items():
        if held.columns is None or held.columns.key != key:
            let_go(alias, generation)
            continue
        many = len(held.rows) >= _ROWS_PER_COPY
        few = [] if many else _sound(held.rows, held.columns)
        statement = quoted(
            alias,
            _STEP.replace("{key_type}", key).replace("{type}", held.columns.type),
            table=name_of(generation),
        )
        texts = [_text(vector) for _, _, vector in few]
        ids, keys = [row[0] for row in few], [row[1] for row in few]
        with connections[alias].cursor() as cursor:
            cursor.execute(
                statement,
                [generation, held.version, ids, keys, texts, version, generation],
            )
        if len(held.rows) == _BATCH:  # and there may be more
            for rows in _streamed(alias, generation, held.version):
                _insert(alias, generation, held.columns, rows)
        elif many:
            _insert(alias, generation, held.columns, held.rows)


def fill(
    alias: str, index: str, generation: UUID, columns: Columns, *, is_replaced: bool = True
) -> None:
    """Let a generation's table hold all of its chunks, making it if need be.

    Goes on where somebody has stopped. Outside a transaction each step commits; until the last
    one the table is not held.

    Args:
        alias: The index's database.
        index: Its name.
        generation: Whose chunks.
        columns: Of the table.
        is_replaced: Whether a table of another type of vector is replaced, too. Processes with
            other settings, which only search, would undo each other's work.

    Raises:
        ConfigurationError: The database cannot have such a table.
    """
    while not _fill_step(alias, index, generation, columns, is_replaced=is_replaced):
        pass
    analyze(alias, generation)


def fill_apart(alias: str, index: str, generation: UUID, columns: Columns) -> bool:
    """Do the same outside the caller's transaction, replacing nothing; see `fill`.

    False if that would not see it, or if somebody would have to be waited for: that may be the
    caller itself.
    """
    with connections[alias].cursor() as cursor:
        cursor.execute("SHOW transaction_isolation")
        if cursor.fetchone()[0] != "read committed":
            return False

    def work() -> bool:
        try:
            with impatient(alias, _PATIENCE):
                fill(alias, index, generation, columns, is_replaced=False)
        except DatabaseError as error:
            if not is_lock_timeout(error):
                raise
            return False
        return True

    return apart(work)


def analyze(alias: str, generation: UUID) -> None:
    """Tell the planner what a table holds."""
    statement = quoted(alias, _ANALYZE, table=name_of(generation))
    with connections[alias].cursor() as cursor:
        cursor.execute(statement)


def let_go(alias: str, generation: UUID) -> bool:
    """Drop a generation's table, if it has one; False if it is in use, and stays for now.

    A write that is under way feeds it to its end; those behind it see that it is not held.
    """
    with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
        cursor.execute(_LOCK_BY_GENERATION, [generation])
        hold(alias, generation, None)
    return drop(alias, generation)


def hold(alias: str, generation: UUID, version: int | None) -> None:
    """Note up to which version the table of a generation is equal; None if it is not."""
    with connections[alias].cursor() as cursor:
        cursor.execute(
            "UPDATE django_obc_ai_indexgeneration SET held_version = %s WHERE id = %s",
            [version, generation],
        )


def _fill_step(
    alias: str, index: str, generation: UUID, columns: Columns, *, is_replaced: bool = True
) -> bool:
    """Add the next chunks; return whether those were the last."""
    table = name_of(generation)
    with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
        cursor.execute(_LOCK, [index])
        row = cursor.fetchone()
        if row is None:
            return True
        found = columns_of(alias, generation)
        if found is not None and not is_replaced and found.is_like(columns):
            columns = found
        if found is not None and found != columns:
            if not drop(alias, generation):
                raise IndexNotReadyError(
                    f"The index {index!r} gets another table, and the old one is being searched."
                    " Try again."
                )
            found = None
        if found is None:
            create(alias, generation, columns)
        statement = quoted(alias, _HIGHEST, table=table)
        cursor.execute(statement)
        highest = cursor.fetchone()[0]
        after = _LOWEST if highest is None else highest
        rows = _chunks(alias, _NEXT, [generation, after, _BATCH])
        _insert(alias, generation, columns, rows)
        if len(rows) == _BATCH:
            hold(alias, generation, None)  # some are missing yet, whatever was there before
            return False
        statement = quoted(alias, _REMOVE_GONE, table=table)
        cursor.execute(statement, [generation])
        missing, after = quoted(alias, _MISSING, table=table), _LOWEST
        while rows := _chunks(alias, missing, [generation, after, _BATCH]):
            _insert(alias, generation, columns, rows)
            after = rows[-1][0]
        hold(alias, generation, row[0])
    return True


def _held(alias: str, index: str) -> dict[UUID, _Held]:
    found: dict[UUID, _Held] = {}
    with connections[alias].cursor() as cursor:
        cursor.execute(_HELD, [_BATCH, index])
        for generation, version, columns, pk, key, vector in cursor.fetchall():
            held = found.get(generation)
            if held is None:
                held = found[generation] = _Held(version, read_columns(columns), [])
            if pk is not None:
                held.rows.append((pk, key, bytes(vector)))
    return found


def _streamed(alias: str, generation: UUID, version: int) -> Iterator[list[Row]]:
    """Yield what is newer than a version in batches, of whatever size the write was."""
    with connections[alias].chunked_cursor() as cursor:
        cursor.execute(_NEWER, [generation, version])
        while rows := cursor.fetchmany(_BATCH):
            yield [(pk, key, bytes(vector)) for pk, key, vector in rows]


def _chunks(alias: str, statement: str, params: Sequence[UUID | int]) -> list[Row]:
    with connections[alias].cursor() as cursor:
        cursor.execute(statement, params)
        return [(pk, key, bytes(vector)) for pk, key, vector in cursor.fetchall()]


def _sound(rows: Sequence[Row], columns: Columns) -> list[Row]:
    """Return the rows whose vector can be searched; ``ai_index --verify`` names the others.

    A key of another type is of an object that is no row any more, since its model's key was
    changed; the next run of ``ai_index`` removes it.
    """
    return [
        row
        for row in rows
        if len(row[2]) == 4 * columns.dimension
        and np.isfinite(np.frombuffer(row[2], "<f4")).all()
        and _fits(row[1], columns.key)
    ]


def _fits(key: str, kind: str) -> bool:
    try:
        return bool(_key(key, kind)) or kind == "text"
    except (ValueError, struct.error):
        return False


def _insert(alias: str, generation: UUID, columns: Columns, rows: Sequence[Row]) -> None:
    """Copy rows into a table."""
    sound = _sound(rows, columns)
    if not sound:
        return
    statement = quoted(alias, _COPY, table=name_of(generation))
    with connections[alias].cursor() as cursor, cursor.copy(statement) as copy:
        for part in _binary(sound, columns):
            copy.write(part)


def _binary(rows: Sequence[Row], columns: Columns) -> Iterator[bytes]:
    """Yield rows as COPY reads them: each field behind its length, numbers big-endian."""
    width = 4 if columns.type == "vector" else 2
    vectors = np.frombuffer(b"".join(row[2] for row in rows), "<f4").astype(f">f{width}")
    payload, size = vectors.tobytes(), width * columns.dimension
    yield _COPY_HEAD
    for number, (pk, key, _) in enumerate(rows):
        written = _key(key, columns.key)
        yield struct.pack(">hiqi", 3, 8, pk, len(written))
        yield written
        yield struct.pack(">ihh", 4 + size, columns.dimension, 0)
        yield payload[number * size : (number + 1) * size]
    yield _COPY_TAIL


def _key(key: str, kind: str) -> bytes:
    if kind == "bigint":
        return struct.pack(">q", int(key))
    return UUID(key).bytes if kind == "uuid" else key.encode()


def _text(vector: bytes) -> str:
    return text_of(np.frombuffer(vector, "<f4").tolist())


def text_of(values: Sequence[float]) -> str:
    """Return float32 components as pgvector reads them: nine digits lose no bit."""
    # One format for all: a third of the time of joining what repr gives for each.
    return ("[%.9g" + ",%.9g" * (len(values) - 1) + "]") % tuple(values)


def note_missing(alias: str, generation: UUID) -> None:
    """Note that a generation has no table, if so: the next search fills it again."""
    if columns_of(alias, generation) is None:
        hold(alias, generation, None)
