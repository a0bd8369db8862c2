"""Searching a generation's table: exactly, or through its HNSW index.

The database computes in float32, or in float16 for halfvec, where sums round in an order of
their own. As in `_scan.py`, its score finds candidates only: from it, an exact score differs by
no more than a bound. A few more rows are fetched than wanted, with the chunk's own vector; if the
last of them is further away than the bound allows, nothing that was left out belongs. If not,
everything within the bound is fetched in a second statement. So the same chunks come back in the
same order as from the numpy store.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
from django.db import DatabaseError, connections, transaction

from django_obc_ai.backends.vector_stores._exact import (
    UNIT,
    exact_scores,
    norms,
    rounding_margin,
)
from django_obc_ai.backends.vector_stores._pgvector_feed import text_of
from django_obc_ai.backends.vector_stores._pgvector_tables import (
    HALFVEC,
    binds_itself,
    is_in_transaction,
    name_of,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from django_obc_ai.backends.vector_stores._exact import Scored
    from django_obc_ai.backends.vector_stores._pgvector_rows import Condition

    #: Id, distance in the database, vector of the chunk, type of the table's vectors.
    Found = tuple[int, float, bytes | None, str]

#: Rows beyond those wanted: float16 leaves more undecided.
_EXTRA, _EXTRA_HALVES = 16, 64
_ATTEMPTS = 5
#: Stored vectors have length 1; `ai_index --verify` allows for this much.
_LONGEST = 1.001
#: Half a unit in the last place of float16, relative, and half the smallest number above 0.
_HALF_UNIT, _HALF_LEAST = 2.0**-11, 2.0**-25
_MOST_CANDIDATES = 1_000  # pgvector's own limit of hnsw.ef_search

_TYPE = (
    "(SELECT atttypid::regtype::text FROM pg_attribute"
    " WHERE attrelid = '{table}'::regclass AND attname = 'embedding')"
)
_WITH_VECTORS = (
    "SELECT found.chunk_id, found.distance, chunk.vector, {type} FROM ({inner}) AS found"
    " JOIN django_obc_ai_chunk AS chunk ON chunk.id = found.chunk_id"
)
# What was computed in float32 is told in float32; only halves are scored again.
_WITH_HALVES = (
    "SELECT found.chunk_id, found.distance, CASE WHEN {type} = 'halfvec' THEN"
    " (SELECT vector FROM django_obc_ai_chunk WHERE id = found.chunk_id) END, ''"
    " FROM ({inner}) AS found"
)
# No index matches the sum, so that every row that counts is compared.
_EXACT = (
    "SELECT v.chunk_id, (v.embedding <#> %s) + 0 AS distance FROM {table} AS v WHERE {condition}"
    " ORDER BY distance LIMIT %s"
)
_WITHIN = (
    "SELECT v.chunk_id, (v.embedding <#> %s) + 0 AS distance FROM {table} AS v"
    " WHERE (v.embedding <#> %s) + 0 <= %s AND {condition}"
)
_BY_INDEX = (
    "SELECT v.chunk_id, v.embedding <#> %s AS distance FROM {table} AS v WHERE {condition}"
    " ORDER BY distance LIMIT %s"
)
_SET = "SET LOCAL hnsw.iterative_scan = relaxed_order; SET LOCAL hnsw.ef_search = %s"
_ROLL_BACK = "ROLLBACK TO SAVEPOINT obc_ai_search; RELEASE SAVEPOINT obc_ai_search"


class TableSearch:
    """Searches of one generation's table in one database."""

    def __init__(self, alias: str, generation: UUID, *, ef_search: int) -> None:
        """Name the table, and how many candidates an HNSW search keeps."""
        self._alias = alias
        self._ef_search = ef_search
        table = connections[alias].ops.quote_name(name_of(generation))
        self._names = {"table": table, "type": _TYPE.format(table=table)}

    def exact(self, query: NDArray[np.float32], k: int, condition: Condition) -> Scored:
        """Return at least the k nearest chunks that fulfil a condition, exactly scored."""
        text, extra = text_of(query.tolist()), _EXTRA
        scored = _nothing()
        for _ in range(_ATTEMPTS):
            wanted = k + extra
            statement = self._statement(_WITH_VECTORS, _EXACT, condition)
            rows = self._run(statement, [text, *condition.params, wanted])
            scored = _scored(rows, query)
            if len(rows) < wanted:
                return scored
            margin = _margin(rows[0][3], query)
            kth = _kth(scored, k)
            if -max(row[1] for row in rows) + margin < kth:
                return scored
            if rows[0][3] == HALFVEC and extra < _EXTRA_HALVES:
                extra = _EXTRA_HALVES
                continue
            # Rows that went meanwhile may have been among the k; then the bound is another one.
            statement = self._statement(_WITH_VECTORS, _WITHIN, condition)
            rows = self._run(statement, [text, text, margin - kth, *condition.params])
            scored = _scored(rows, query)
            if len(rows) >= k and _kth(scored, k) >= kth:
                break
        return scored

    def by_index(self, query: NDArray[np.float32], k: int, condition: Condition) -> Scored:
        """Return about the k nearest chunks, scored in float32; fewer if the index gives up."""
        statement = self._statement(_WITH_HALVES, _BY_INDEX, condition)
        params = [text_of(query.tolist()), *condition.params, k]
        candidates = min(max(self._ef_search, k), _MOST_CANDIDATES)
        return _scored(self._run(statement, params, candidates=candidates), query)

    def _statement(self, outer: str, inner: str, condition: Condition) -> str:
        found = inner.format(condition=condition.sql, **self._names)
        return outer.format(inner=found, **self._names)

    def _run(
        self, statement: str, params: Sequence[Any], *, candidates: int | None = None
    ) -> list[Found]:
        """Run one SELECT in one round trip; settings that it needs end with it.

        Inside the caller's transaction it stands between savepoints: neither does its failure
        break the transaction, nor does a setting stay.
        """
        connection = connections[self._alias]
        if not binds_itself(connection):
            return self._run_apart(statement, params, candidates)
        settings = [] if candidates is None else [candidates]
        if settings:
            statement = f"{_SET}; {statement}"
        if not is_in_transaction(self._alias):
            with connection.cursor() as cursor:
                cursor.execute(statement, [*settings, *params])
                return _rows(cursor)
        statement = f"SAVEPOINT obc_ai_search; {statement}; {_ROLL_BACK}"
        with connection.cursor() as cursor:
            try:
                cursor.execute(statement, [*settings, *params])
            except DatabaseError:
                with suppress(DatabaseError):  # the first one says what is wrong
                    cursor.execute(_ROLL_BACK)
                raise
            return _rows(cursor)

    def _run_apart(
        self, statement: str, params: Sequence[Any], candidates: int | None
    ) -> list[Found]:
        """Do the same where each statement is sent by itself: ``server_side_binding``."""
        connection = connections[self._alias]
        with transaction.atomic(using=self._alias), connection.cursor() as cursor:
            if candidates is not None:
                cursor.execute("SELECT set_config('hnsw.iterative_scan', 'relaxed_order', true)")
                cursor.execute("SELECT set_config('hnsw.ef_search', %s, true)", [str(candidates)])
            cursor.execute(statement, params)
            found: list[Found] = cursor.fetchall()
        return found


def _rows(cursor: Any) -> list[Found]:
    """Return the rows of the one statement of several that gives any. Any: psycopg's cursor."""
    while cursor.description is None:
        cursor.nextset()
    found: list[Found] = cursor.fetchall()
    return found


def _nothing() -> Scored:
    return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)


def _scored(rows: Sequence[Found], query: NDArray[np.float32]) -> Scored:
    if not rows:
        return _nothing()
    ids = np.fromiter((row[0] for row in rows), dtype=np.int64, count=len(rows))
    held = [row[2] for row in rows if row[2] is not None]
    if not held:
        distances = np.fromiter((row[1] for row in rows), dtype=np.float64, count=len(rows))
        return ids, (-distances).astype(np.float32)
    vectors = np.frombuffer(b"".join(held), "<f4").reshape(len(rows), -1)
    return ids, exact_scores(vectors.astype(np.float32, copy=False), query)


def _kth(scored: Scored, k: int) -> float:
    scores = scored[1]
    return float(np.partition(scores, len(scores) - k)[len(scores) - k])


def _margin(kind: str, query: NDArray[np.float32]) -> float:
    """Return how far a score of the database may be from the exact one.

    For halfvec, both vectors were rounded: their inner product changes by at most the length of
    each change times the length of the other vector (Cauchy-Schwarz).
    """
    margin = rounding_margin(len(query), _LONGEST, query)
    if kind != HALFVEC:
        return margin
    length = float(norms(query[None, :])[0])
    least = np.sqrt(len(query)) * _HALF_LEAST
    moved = _HALF_UNIT * _LONGEST + least
    turned = _HALF_UNIT * length + least
    margin = rounding_margin(len(query), _LONGEST + moved, query) * (1 + _HALF_UNIT)
    return float(margin + moved * (length + turned) + _LONGEST * turned) * (1 + 4 * UNIT)
