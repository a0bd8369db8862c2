"""The HNSW index of a generation's table: built while everything goes on, or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import DatabaseError, connections

from django_obc_ai.backends.vector_stores._pgvector_tables import (
    HNSW_DIMENSIONS,
    Columns,
    is_in_transaction,
    name_of,
    quoted,
)
from django_obc_ai.exceptions import ConfigurationError

_INDEXES = (
    "SELECT c.relname, i.indisvalid, coalesce(c.reloptions, '{}'),"
    " EXISTS (SELECT FROM pg_stat_progress_create_index p WHERE p.index_relid = c.oid)"
    " FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam"
    " WHERE i.indrelid = to_regclass(%s) AND a.amname = 'hnsw' ORDER BY c.relname"
)
_BUILD = (
    "CREATE INDEX{concurrently} {name} ON {table} USING hnsw (embedding {type}_ip_ops)"
    " WITH (m = {m}, ef_construction = {ef_construction})"
)
_DROP = "DROP INDEX{concurrently} IF EXISTS {name}"
_CONCURRENTLY = " CONCURRENTLY"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hnsw:
    """What the option ``approximate`` asks for.

    Attributes:
        above: Chunks below which no index is built.
        m: Neighbours of each vector in the graph, 2 to 100.
        ef_construction: Candidates while it is built, 4 to 1,000, at least 2 m.
        ef_search: Candidates of a search, 1 to 1,000.
    """

    above: int = 50_000
    m: int = 16
    ef_construction: int = 64
    ef_search: int = 100

    @property
    def kind(self) -> str:
        """Return what is told to people."""
        return f"HNSW, M {self.m}, ef_construction {self.ef_construction}"

    @property
    def settings(self) -> str:
        """Return what a measured recall depends on."""
        return f"hnsw m={self.m} ef_construction={self.ef_construction} ef_search={self.ef_search}"


def hnsw_of(options: Mapping[str, Any] | None) -> Hnsw | None:
    """Return the option ``approximate``, read.

    Raises:
        ValueError: A name or a value is wrong.
    """
    if options is None:
        return None
    given = dict(options)
    if given.pop("kind", "hnsw") != "hnsw":
        raise ValueError("approximate['kind'] must be 'hnsw'")
    bounds = {"above": 10**12, "m": 100, "ef_construction": 1_000, "ef_search": 1_000}
    least = {"above": 0, "m": 2, "ef_construction": 4, "ef_search": 1}
    for name, value in given.items():
        if name not in bounds:
            raise ValueError(f"approximate takes kind, {', '.join(bounds)}; not {name}")
        is_number = isinstance(value, int) and not isinstance(value, bool)
        if not is_number or not least[name] <= value <= bounds[name]:
            raise ValueError(f"approximate[{name!r}] must be {least[name]} to {bounds[name]:,}")
    found = Hnsw(**given)
    if found.ef_construction < 2 * found.m:
        raise ValueError("approximate['ef_construction'] must be at least 2 m")
    return found


def check_dimension_of_index(hnsw: Hnsw | None, columns: Columns) -> None:
    """Refuse, before anything is embedded, vectors that HNSW cannot index.

    Raises:
        ConfigurationError: They are too long for their type.
    """
    if hnsw is not None and columns.dimension > HNSW_DIMENSIONS[columns.type]:
        raise ConfigurationError(
            f"pgvector builds no HNSW index over {columns.type} of {columns.dimension} components.",
            hint="Set OPTIONS['type'] to 'halfvec', which goes up to 4,000, or leave out"
            " OPTIONS['approximate'].",
            check_id="E004",
        )


def held_kind(alias: str, generation: UUID) -> str:
    """Return the kind of the index that searches use; "" if there is none."""
    for _, is_valid, options, _ in _indexes(alias, generation):
        if is_valid:
            found = dict(each.split("=", 1) for each in options)
            return Hnsw(
                m=int(found.get("m", 16)), ef_construction=int(found.get("ef_construction", 64))
            ).kind
    return ""


def build(
    alias: str, generation: UUID, columns: Columns, hnsw: Hnsw, settings: Mapping[str, str]
) -> str:
    """Build the index, unless it is there, and drop others; return the kind that is there.

    Outside a transaction, searches and writes go on beside it. What a killed build has left is
    dropped and built again; one that another process builds is left to that.
    """
    with _alone(alias, generation) as is_alone:
        return _build_alone(alias, generation, columns, hnsw, settings) if is_alone else ""


@contextmanager
def _alone(alias: str, generation: UUID) -> Iterator[bool]:
    """Yield whether no other process builds an index over the same table."""
    key = int.from_bytes(generation.bytes[:8], "big", signed=True)
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [key])
        is_alone = bool(cursor.fetchone()[0])
    try:
        yield is_alone
    finally:
        if is_alone and not connections[alias].needs_rollback:
            with connections[alias].cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [key])


def _build_alone(
    alias: str, generation: UUID, columns: Columns, hnsw: Hnsw, settings: Mapping[str, str]
) -> str:
    suffix = f"{generation.hex}_{hnsw.m}_{hnsw.ef_construction}"
    wanted = f"django_obc_ai_hnsw_{suffix}"
    is_nested = is_in_transaction(alias)
    found = {name: (valid, building) for name, valid, _, building in _indexes(alias, generation)}
    valid, is_building = found.get(wanted, (False, False))
    if is_building:
        return ""
    if not valid:
        if wanted in found:
            _drop(alias, wanted, is_nested=is_nested)
        statement = quoted(
            alias,
            _BUILD.replace("{concurrently}", "" if is_nested else _CONCURRENTLY)
            .replace("{type}", columns.type)
            .replace("{m}", str(hnsw.m))
            .replace("{ef_construction}", str(hnsw.ef_construction)),
            table=name_of(generation),
            name=wanted,
        )
        with _set(alias, settings), connections[alias].cursor() as cursor:
            cursor.execute(statement)
    for name, (_, is_building) in found.items():
        if name != wanted and not is_building:
            _drop(alias, name, is_nested=is_nested)
    return hnsw.kind


def drop_index(alias: str, generation: UUID) -> None:
    """Drop what approximate indexes a table has."""
    is_nested = is_in_transaction(alias)
    for name, _, _, is_building in _indexes(alias, generation):
        if not is_building:
            _drop(alias, name, is_nested=is_nested)


def _indexes(alias: str, generation: UUID) -> list[tuple[str, bool, list[str], bool]]:
    with connections[alias].cursor() as cursor:
        cursor.execute(_INDEXES, [name_of(generation)])
        found: list[tuple[str, bool, list[str], bool]] = cursor.fetchall()
    return found


def _drop(alias: str, name: str, *, is_nested: bool) -> None:
    concurrently = "" if is_nested else _CONCURRENTLY
    statement = quoted(alias, _DROP.replace("{concurrently}", concurrently), name=name)
    with connections[alias].cursor() as cursor:
        cursor.execute(statement)


@contextmanager
def _set(alias: str, settings: Mapping[str, str]) -> Iterator[None]:
    """Set what a build needs in this session, and put it back: no statement may end it early."""
    before: dict[str, str] = {}
    wanted = {"statement_timeout": "0", **settings}
    with connections[alias].cursor() as cursor:
        for name in wanted:
            cursor.execute("SELECT current_setting(%s)", [name])
            before[name] = cursor.fetchone()[0]
    _configure(alias, wanted)
    try:
        yield
    except DatabaseError:
        if not is_in_transaction(alias):  # else the rollback puts it back
            _configure(alias, before)
        raise
    _configure(alias, before)


def _configure(alias: str, settings: Mapping[str, str]) -> None:
    with connections[alias].cursor() as cursor:
        for name, value in settings.items():
            cursor.execute("SELECT set_config(%s, %s, false)", [name, value])
