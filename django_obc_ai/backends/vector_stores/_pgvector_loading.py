"""What the pgvector store holds of an index, and loading it with given vectors for tests.

The chunk table stays the truth here, too: given vectors are written as chunks without a text,
with a state row of the index beside them, and reach the vectors' table on the usual way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

import numpy as np
from django.db import connections, transaction

from django_obc_ai.backends.vector_stores import _pgvector_feed as feeding
from django_obc_ai.backends.vector_stores._pgvector_tables import Columns, name_of, quoted
from django_obc_ai.backends.vector_stores.base import check_dimension
from django_obc_ai.models import Chunk, IndexGeneration, IndexState, IndexVersion, Tombstone
from django_obc_ai.types import ReplicaState

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from django_obc_ai.backends.vector_stores.base import Batch

#: Type of the keys of what is loaded: an object's key is its chunk's id.
KEY = "bigint"
_COUNT = "SELECT count(*) FROM {table}"
_FIND = (
    "SELECT s.uuid, g.id, s.version, s.stamp, g.dimension FROM django_obc_ai_indexstate s"
    " JOIN django_obc_ai_indexgeneration g ON g.id = s.serving_id"
    " WHERE s.name = %s AND g.held_version = s.version"
    " AND to_regclass('django_obc_ai_vectors_' || replace(g.id::text, '-', '')) IS NOT NULL"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What is held of an index."""

    state: ReplicaState
    dimension: int


def find(alias: str, index: str) -> Held | None:
    """Return what is held of an index; None if its table is behind its chunks, or not there."""
    with connections[alias].cursor() as cursor:
        cursor.execute(_FIND, [index])
        row = cursor.fetchone()
    if row is None:
        return None
    state = ReplicaState(index_uuid=row[0], generation=row[1], version=row[2], stamp=row[3])
    return Held(state=state, dimension=row[4])


def count(alias: str, generation: UUID) -> int:
    """Return how many rows a generation's table has."""
    statement = quoted(alias, _COUNT, table=name_of(generation))
    with connections[alias].cursor() as cursor:
        cursor.execute(statement)
        found: int = cursor.fetchone()[0]
    return found


def generations_of(alias: str, index: str) -> list[UUID]:
    """Return the generations of an index."""
    rows = IndexGeneration.objects.using(alias).filter(index_id=index)
    return list(rows.values_list("pk", flat=True))


def reset(
    alias: str, index: str, batches: Iterable[Batch], state: ReplicaState, columns: Columns
) -> None:
    """Write an index of these vectors at this moment, in place of what it was."""
    with transaction.atomic(using=alias):
        for generation in generations_of(alias, index):
            feeding.let_go(alias, generation)
        IndexState.objects.using(alias).filter(pk=index).delete()
        row = IndexState.objects.using(alias).create(
            name=index, uuid=state.index_uuid, version=state.version, stamp=state.stamp
        )
        made = IndexGeneration.objects.using(alias).create(
            id=state.generation,
            index=row,
            fingerprint="loaded",
            dimension=columns.dimension,
            is_complete=True,
        )
        IndexState.objects.using(alias).filter(pk=index).update(serving=made)
        _log(alias, index, state)
        for ids, vectors in batches:
            check_dimension(index, vectors, columns.dimension)
            _write(alias, state, ids, vectors)
        feeding.fill(alias, index, state.generation, columns)


def apply(
    alias: str,
    index: str,
    held: Held,
    *,
    ids: NDArray[np.int64],
    vectors: NDArray[np.float32],
    removed: Sequence[int],
    state: ReplicaState,
) -> None:
    """Add and remove chunks, and move to a later moment."""
    check_dimension(index, vectors, held.dimension)
    new = ~np.isin(ids, np.asarray(removed, dtype=np.int64))
    gone = [*removed, *ids.tolist()]
    with transaction.atomic(using=alias):
        IndexState.objects.using(alias).filter(pk=index).update(
            version=state.version, stamp=state.stamp
        )
        _log(alias, index, state)
        chunks = Chunk.objects.using(alias).filter(generation_id=state.generation)
        chunks.filter(pk__in=gone).delete()
        Tombstone.objects.using(alias).bulk_create(
            Tombstone(generation_id=state.generation, chunk_id=pk, version=state.version)
            for pk in gone
        )
        # Nothing but a test brings an id back: what goes and what comes are two steps then.
        feeding.feed(alias, index, held.state.version, key=KEY)
        _write(alias, state, ids[new], vectors[new])
        feeding.feed(alias, index, state.version, key=KEY)


def _log(alias: str, index: str, state: ReplicaState) -> None:
    IndexVersion.objects.using(alias).create(
        index_id=index, version=state.version, stamp=state.stamp
    )


def _write(
    alias: str, state: ReplicaState, ids: NDArray[np.int64], vectors: NDArray[np.float32]
) -> None:
    Chunk.objects.using(alias).bulk_create(
        [
            Chunk(
                pk=pk,
                generation_id=state.generation,
                object_key=str(pk),
                number=0,
                text="",
                content_hash="",
                vector=row.astype("<f4").tobytes(),
                version=state.version,
            )
            for pk, row in zip(ids.tolist(), vectors, strict=True)
        ],
        batch_size=500,
    )
