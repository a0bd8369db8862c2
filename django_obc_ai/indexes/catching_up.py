"""Bringing a store to the moment that the database is at: by what is new, or by everything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from uuid import UUID

from django.db.models import Exists, FilteredRelation, OuterRef, Q

from django_obc_ai.backends.vector_stores import vector_stores
from django_obc_ai.exceptions import IndexNotReadyError
from django_obc_ai.indexes.base import VectorIndex
from django_obc_ai.indexes.feeds import Feed, Rows
from django_obc_ai.models import Chunk, IndexState, IndexVersion, Tombstone
from django_obc_ai.types import ReplicaState

_BATCH = 2_000
#: More chunks than these are not read at once.
_MOST_NEW = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """What a search needs to know of a generation; it never changes."""

    id: UUID
    fingerprint: str
    dimension: int
    fitted_state: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Now:
    """What the state row of an index says.

    Attributes:
        state: The moment the database is at.
        recall: Recall@10 in [0, 1], measured with the settings of now; None for none.
        is_in_database: Whether its vector store is in the index's own database.
        held_version: Up to which version that holds it; None if it does not.
    """

    state: ReplicaState
    recall: float | None
    is_in_database: bool = False
    held_version: int | None = None


def read_now(index: VectorIndex) -> Now:
    """Return the moment the database is at, and how it may be searched.

    Raises:
        IndexNotReadyError: The index was never built.
    """
    store = vector_stores[index.vector_store]
    columns = ["uuid", "serving_id", "version", "stamp", "recall", "recall_of"]
    columns += ["serving__held_version"] if store.is_in_database else []
    rows = IndexState.objects.using(index.database).filter(pk=index.name)
    row = rows.values_list(*columns).first()
    if row is None or row[1] is None:
        raise IndexNotReadyError(
            f"The index {index.name!r} has not been built. Run: manage.py ai_index {index.name}"
        )
    state = ReplicaState(index_uuid=row[0], generation=row[1], version=row[2], stamp=row[3])
    is_measured = row[4] is not None and row[5] == store.approximate_settings
    return Now(
        state=state,
        recall=row[4] if is_measured else None,
        is_in_database=store.is_in_database,
        held_version=row[6] if store.is_in_database else None,
    )


def fill(index: VectorIndex, feed: Feed, generation: Generation) -> bool:
    """Let a store hold all chunks; False if another generation began to serve meanwhile.

    They are read in many steps, and writers go on meanwhile: what comes in is at least what
    the state counted, less what was removed since, with some of what was added since. The
    changes since that state then make it one exact moment: chunks never change, added ones
    replace themselves, and every removed one has a tombstone.
    """
    state = read_now(index).state
    if state.generation != generation.id:
        return False
    feed.reset(
        index.name,
        dimension=generation.dimension,
        batches=_all_chunks(index, generation, feed.column),
        state=state,
    )
    return catch_up(index, feed, generation, state, most=None)


def catch_up(
    index: VectorIndex,
    feed: Feed,
    generation: Generation,
    state: ReplicaState,
    *,
    most: int | None = _MOST_NEW,
) -> bool:
    """Apply what is newer than the store's own moment.

    False if that is not this history's, or if more than `most` chunks are newer: in steps,
    `fill` reads any number of them.

    The version that the store is brought to and the chunks up to it are read in one statement.
    Between two, an edit could take away a chunk that the version still counted, and its object
    would be missing from a search. Tombstones stay, so they can be read afterwards.
    """
    held = feed.store.state(index.name)
    if held is None or (held.index_uuid, held.generation) != (state.index_uuid, generation.id):
        return False
    alias = index.database
    known = IndexVersion.objects.filter(
        index_id=OuterRef("pk"), version=held.version, stamp=held.stamp
    )
    is_newer = Q(serving__chunks__version__gt=held.version)
    rows = list(
        IndexState.objects.using(alias)
        .filter(Exists(known), pk=index.name, uuid=held.index_uuid, serving_id=generation.id)
        .annotate(newer=FilteredRelation("serving__chunks", condition=is_newer))
        .values_list("version", "stamp", "newer__pk", f"newer__{feed.column}")[
            : None if most is None else most + 1
        ]
    )
    if not rows or rows[0][0] < held.version or (most is not None and len(rows) > most):
        return False
    version, stamp = rows[0][:2]
    if (version, stamp) == (held.version, held.stamp):
        return True
    if version == held.version:
        return False
    removed = Tombstone.objects.using(alias).filter(
        generation_id=generation.id, version__gt=held.version, version__lte=version
    )
    feed.apply(
        index.name,
        dimension=generation.dimension,
        rows=[row[2:] for row in rows if row[2] is not None],
        removed=list(removed.values_list("chunk_id", flat=True)),
        state=replace(state, version=version, stamp=stamp),
    )
    return True


def is_known(index: VectorIndex, held: ReplicaState) -> bool:
    """Return whether the database's own history has this moment, and has not forgotten it."""
    versions = IndexVersion.objects.using(index.database).filter(
        index_id=index.name,
        index__uuid=held.index_uuid,
        version=held.version,
        stamp=held.stamp,
    )
    return versions.exists()


def _all_chunks(index: VectorIndex, generation: Generation, column: str) -> Iterator[Rows]:
    chunks = Chunk.objects.using(index.database).filter(generation_id=generation.id)
    last = 0
    while rows := list(
        chunks.filter(pk__gt=last).order_by("pk").values_list("pk", column)[:_BATCH]
    ):
        last = rows[-1][0]
        yield rows
