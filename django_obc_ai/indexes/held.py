"""Generations that a vector store in the index's own database holds: kept equal by every write.

Such a store's table changes in the transaction that changes the chunks, whatever store the
writing process is configured with. So there is nothing to catch up with: a table is equal, or it
is not held at all, and filled when a process that searches in the database first needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast
from uuid import UUID

from django.db import connections

from django_obc_ai.backends.vector_stores import BaseVectorStore, vector_stores
from django_obc_ai.exceptions import ConfigurationError
from django_obc_ai.indexes.base import VectorIndex
from django_obc_ai.models import IndexGeneration, IndexState
from django_obc_ai.types import ReplicaState

if TYPE_CHECKING:
    from django_obc_ai.backends.vector_stores.pgvector import PgvectorVectorStore


def is_in_database(index: VectorIndex) -> bool:
    """Return whether the index's vector store is in its own database.

    Whoever writes an index need not be able to search it: a store that is not installed, or
    whose options are wrong, is none that is in the database.
    """
    try:
        return vector_stores.backend_class(index.vector_store).is_in_database
    except ConfigurationError:
        return False


def bring_up(index: VectorIndex, state: IndexState) -> None:
    """Make every held table equal to the chunks, at the end of a write."""
    if not state.is_held or not _is_postgres(index):
        return
    from django_obc_ai.backends.vector_stores import _pgvector_feed, _pgvector_rows

    key = _pgvector_rows.column_type(index.model)
    _pgvector_feed.feed(index.database, index.name, state.version, key=key)


def begin(index: VectorIndex, generation: IndexGeneration, state: IndexState) -> None:
    """Hold a new generation from its first chunk on, inside the write that makes it.

    Raises:
        ConfigurationError: The database cannot; nothing has been embedded yet.
    """
    if not is_in_database(index):
        return
    from django_obc_ai.backends.vector_stores import _pgvector_feed, _pgvector_tables

    columns = _store(index).columns(index.model, generation.dimension)
    _pgvector_tables.create(index.database, generation.pk, columns)
    _pgvector_feed.hold(index.database, generation.pk, state.version)
    state.is_held = True


def ensure(
    index: VectorIndex, generation: UUID, dimension: int, *, is_replaced: bool = False
) -> None:
    """Fill the table of a generation, unless it is equal; replace one of another type if asked.

    Raises:
        ConfigurationError: The database cannot have it.
    """
    from django_obc_ai.backends.vector_stores import _pgvector_feed

    columns = _store(index).columns(index.model, dimension)
    _pgvector_feed.fill(index.database, index.name, generation, columns, is_replaced=is_replaced)


def ensure_apart(index: VectorIndex, generation: UUID, dimension: int) -> bool:
    """Do the same outside the caller's transaction; False if that may hold what it needs.

    Raises:
        ConfigurationError: The database cannot have it.
    """
    from django_obc_ai.backends.vector_stores import _pgvector_feed

    columns = _store(index).columns(index.model, dimension)
    return _pgvector_feed.fill_apart(index.database, index.name, generation, columns)


def prepare(index: VectorIndex, generation: IndexGeneration) -> None:
    """Do before a generation serves, or at the end of a run, what makes its searches fast.

    Where the store is in the database, its table is filled if another store was configured
    before, or another type, and the approximate index that the options ask for is built. Where
    it is not, a table that was left from such a store is dropped.
    """
    if not _is_postgres(index):
        return
    from django_obc_ai.backends.vector_stores import _pgvector_feed, _pgvector_tables

    alias = index.database
    if not is_in_database(index):
        for each in IndexGeneration.objects.using(alias).filter(
            index_id=index.name, held_version__isnull=False
        ):
            _pgvector_feed.let_go(alias, each.pk)
    else:
        store = _store(index)
        columns = store.columns(index.model, generation.dimension)
        now = IndexGeneration.objects.using(alias).filter(pk=generation.pk)
        version = now.values_list("held_version", flat=True).first()
        if version is None or _pgvector_tables.columns_of(alias, generation.pk) != columns:
            ensure(index, generation.pk, generation.dimension, is_replaced=True)
        else:
            _pgvector_feed.analyze(alias, generation.pk)
        store.prepare(index.name, generation.pk)
    _pgvector_tables.drop_left_over(alias)


def let_go(index: VectorIndex, generation: IndexGeneration) -> bool:
    """Drop the table of a generation, if it has one; False if it is being searched."""
    if not _is_postgres(index):
        return True
    from django_obc_ai.backends.vector_stores import _pgvector_feed

    return _pgvector_feed.let_go(index.database, generation.pk)


def searched(index: VectorIndex, state: ReplicaState, dimension: int) -> BaseVectorStore:
    """Return the store, for searches of a generation that it holds."""
    return _store(index).pinned(index.database, state, dimension)


def _store(index: VectorIndex) -> PgvectorVectorStore:
    store = vector_stores[index.vector_store].using(index.database)
    return cast("PgvectorVectorStore", store)  # the only one that is in the database


def _is_postgres(index: VectorIndex) -> bool:
    return connections[index.database].vendor == "postgresql"
