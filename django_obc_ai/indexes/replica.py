"""Keeping a vector store equal to the chunk table, from the last moment it held."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from uuid import UUID

import numpy as np
from django.db import connections
from django.db.models import Exists, FilteredRelation, OuterRef, Q
from numpy.typing import NDArray

from django_obc_ai.backends.vector_stores import BaseVectorStore, vector_stores
from django_obc_ai.backends.vector_stores.numpy import NumpyVectorStore
from django_obc_ai.exceptions import IndexNotReadyError
from django_obc_ai.indexes.base import VectorIndex
from django_obc_ai.indexes.generations import RETIRED, uncommitted_mark
from django_obc_ai.models import Chunk, IndexGeneration, IndexState, IndexVersion, Tombstone
from django_obc_ai.types import ReplicaState

_BATCH = 2_000
_ATTEMPTS = 5
_MAX_KNOWN_GENERATIONS = 64
_locks: dict[str, threading.Lock] = {}
_locks_guard = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """What a search needs to know of a generation; it never changes."""

    id: UUID
    fingerprint: str
    dimension: int
    fitted_state: bytes


_known: dict[object, Generation] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """A vector store that holds an index at the moment of its state row.

    Attributes:
        store: Search it under the index's name.
        generation: What queries must be embedded with.
        state: The moment it holds.
    """

    store: BaseVectorStore
    generation: Generation
    state: ReplicaState


def sync(index: VectorIndex) -> Replica:
    """Return a store that holds what the database held when it was asked, or later.

    Reads one row when nothing changed, the new chunks and tombstones when something
    did, and everything when the store holds a history that this database does not know:
    a rolled-back write, a restored backup, another database.

    Raises:
        IndexNotReadyError: The index was never built.
    """
    for _ in range(_ATTEMPTS):
        replica = _sync_once(index)
        if replica is not None:
            return replica
    raise IndexNotReadyError(f"The index {index.name!r} is being rebuilt. Try again.")


def _sync_once(index: VectorIndex) -> Replica | None:
    """Return a replica, or None if another generation began to serve meanwhile."""
    state, generation = _read(index)
    shared = vector_stores[index.vector_store]
    held = shared.state(index.name)
    if held != state and not _needs_private(index.database, held, state):
        with _lock_of(index.name):
            # What another process has left on the disk may be nearer than what is held here;
            # another thread may have moved on, too.
            shared.load(index.name, state, partial(_is_known, index))
            held = shared.state(index.name)
            if not _needs_private(index.database, held, state):
                return _bring_up(index, shared, generation, state)
    if held == state and not _needs_private(index.database, held, state):
        return Replica(store=shared, generation=generation, state=state)
    return _fill(index, NumpyVectorStore(), generation, state)


def _read(index: VectorIndex) -> tuple[ReplicaState, Generation]:
    """Return state and generation; a generation that is just being removed is not served."""
    for _ in range(_ATTEMPTS):
        state = read_state(index)
        try:
            generation = _generation(index, state)
        except IndexGeneration.DoesNotExist:
            continue
        if generation.fingerprint != RETIRED:
            return state, generation
        _known.pop(state.generation, None)
    raise IndexNotReadyError(f"The index {index.name!r} is being rebuilt. Try again.")


def _needs_private(alias: str, held: ReplicaState | None, state: ReplicaState) -> bool:
    """Return whether this transaction's view must not reach the shared replica.

    Its own writes may never be committed, and an older snapshot would set the replica
    back for everyone.
    """
    connection = connections[alias]
    if any(entry[1] is uncommitted_mark for entry in connection.run_on_commit):
        return True
    return (
        connection.in_atomic_block
        and held is not None
        and held.generation == state.generation
        and held.version > state.version
    )


def read_state(index: VectorIndex) -> ReplicaState:
    """Return the moment the database is at.

    Raises:
        IndexNotReadyError: The index was never built.
    """
    columns = ("uuid", "serving_id", "version", "stamp")
    rows = IndexState.objects.using(index.database).filter(pk=index.name)
    row = rows.values_list(*columns).first()
    if row is None or row[1] is None:
        raise IndexNotReadyError(
            f"The index {index.name!r} has not been built. Run: manage.py ai_index {index.name}"
        )
    return ReplicaState(index_uuid=row[0], generation=row[1], version=row[2], stamp=row[3])


def _bring_up(
    index: VectorIndex, store: BaseVectorStore, generation: Generation, state: ReplicaState
) -> Replica | None:
    """Let the shared store hold the newest moment."""
    if store.state(index.name) == state or _catch_up(index, store, generation, state):
        return _replica(index, store, generation)
    # One process of the machine reads all rows; the others wait and take what it has written.
    with store.filling(index.name, state):
        store.load(index.name, state, partial(_is_known, index))
        if _catch_up(index, store, generation, state):
            return _replica(index, store, generation)
        return _fill(index, store, generation, state)


def _fill(
    index: VectorIndex, store: BaseVectorStore, generation: Generation, state: ReplicaState
) -> Replica | None:
    """Let a store hold all chunks.

    They are read in many steps, and writers go on meanwhile: what comes in is at least what
    the state counted, less what was removed since, with some of what was added since. The
    changes since that state then make it one exact moment: chunks never change, added ones
    replace themselves, and every removed one has a tombstone.
    """
    state = read_state(index)
    if state.generation != generation.id:
        return None
    batches = _all_chunks(index, generation)
    store.reset(index.name, dimension=generation.dimension, batches=batches, state=state)
    if not _catch_up(index, store, generation, state):
        return None
    return _replica(index, store, generation)


def _replica(index: VectorIndex, store: BaseVectorStore, generation: Generation) -> Replica | None:
    state = store.state(index.name)
    if state is None:
        return None
    return Replica(store=store, generation=generation, state=state)


def _catch_up(
    index: VectorIndex, store: BaseVectorStore, generation: Generation, state: ReplicaState
) -> bool:
    """Apply what is newer than the store's own moment; False if that is not this history's.

    The version that the store is brought to and the chunks up to it are read in one statement.
    Between two, an edit could take away a chunk that the version still counted, and its object
    would be missing from a search. Tombstones stay, so they can be read afterwards.
    """
    held = store.state(index.name)
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
        .values_list("version", "stamp", "newer__pk", "newer__vector")
    )
    if not rows or rows[0][0] < held.version:
        return False
    version, stamp = rows[0][:2]
    if (version, stamp) == (held.version, held.stamp):
        return True
    if version == held.version:
        return False
    removed = Tombstone.objects.using(alias).filter(
        generation_id=generation.id, version__gt=held.version, version__lte=version
    )
    ids, vectors = _arrays([row[2:] for row in rows if row[2] is not None], generation.dimension)
    store.apply(
        index.name,
        ids=ids,
        vectors=vectors,
        removed=list(removed.values_list("chunk_id", flat=True)),
        state=replace(state, version=version, stamp=stamp),
    )
    return True


def _is_known(index: VectorIndex, held: ReplicaState) -> bool:
    """Return whether the database's own history has this moment, and has not forgotten it."""
    versions = IndexVersion.objects.using(index.database).filter(
        index_id=index.name,
        index__uuid=held.index_uuid,
        version=held.version,
        stamp=held.stamp,
    )
    return versions.exists()


def _all_chunks(
    index: VectorIndex, generation: Generation
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    chunks = Chunk.objects.using(index.database).filter(generation_id=generation.id)
    last = 0
    while rows := list(
        chunks.filter(pk__gt=last).order_by("pk").values_list("pk", "vector")[:_BATCH]
    ):
        last = rows[-1][0]
        yield _arrays(rows, generation.dimension)


def _arrays(
    rows: Sequence[tuple[int, bytes | memoryview]], dimension: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    ids = np.fromiter((row[0] for row in rows), dtype=np.int64, count=len(rows))
    joined = b"".join(bytes(row[1]) for row in rows)
    vectors = np.frombuffer(joined, dtype="<f4").reshape(len(rows), dimension)
    return ids, vectors.astype(np.float32, copy=False)


def _generation(index: VectorIndex, state: ReplicaState) -> Generation:
    known = _known.get(state.generation)
    if known is None:
        row = IndexGeneration.objects.using(index.database).get(pk=state.generation)
        known = Generation(
            id=row.pk,
            fingerprint=row.fingerprint,
            dimension=row.dimension,
            fitted_state=bytes(row.fitted_state),
        )
        if len(_known) >= _MAX_KNOWN_GENERATIONS:
            _known.clear()
        _known[state.generation] = known
    return known


def _lock_of(name: str) -> threading.Lock:
    with _locks_guard:
        return _locks.setdefault(name, threading.Lock())
