"""Keeping a vector store equal to the chunk table, from the last moment it held."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from django.db import connections
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
    """Return a store that holds what the database holds now.

    Reads one row when nothing changed, the new chunks and tombstones when something
    did, and everything when the store holds a history that this database does not know:
    a rolled-back write, a restored backup, another database.

    Chunks and tombstones are read one after the other. An edit in between takes a chunk away
    that the state still counted, and its object would be missing from one search: what was read
    counts only if the state is the same afterwards.

    Raises:
        IndexNotReadyError: The index was never built.
    """
    for _ in range(_ATTEMPTS - 1):
        replica, is_fresh = _sync_once(index)
        if not is_fresh or read_state(index) == replica.state:
            return replica
    return _sync_once(index)[0]


def _sync_once(index: VectorIndex) -> tuple[Replica, bool]:
    """Return a replica, and whether anything had to be read for it."""
    state, generation = _read(index)
    shared = vector_stores[index.vector_store]
    held = shared.state(index.name)
    if held != state and not _needs_private(index.database, held, state):
        with _lock_of(index.name):
            # Read again: another thread may have moved store and state on meanwhile, and what
            # is on the disk may be newer than what was read first.
            shared.load(index.name, state, partial(_is_known, index))
            state, generation = _read(index)
            held = shared.state(index.name)
            if not _needs_private(index.database, held, state):
                state, generation = _bring_up(index, shared, generation, state)
                return Replica(store=shared, generation=generation, state=state), True
    if held == state and not _needs_private(index.database, held, state):
        return Replica(store=shared, generation=generation, state=state), False
    store = NumpyVectorStore()
    batches = _all_chunks(index, state)
    store.reset(index.name, dimension=generation.dimension, batches=batches, state=state)
    return Replica(store=store, generation=generation, state=state), True


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
) -> tuple[ReplicaState, Generation]:
    """Let the shared store hold a moment; return the one that it was brought to."""
    if _continue(index, store, generation, state):
        return state, generation
    # One process of the machine reads all rows; the others wait and take what it has written.
    with store.filling(index.name, state):
        store.load(index.name, state, partial(_is_known, index))
        state, generation = _read(index)
        if not _continue(index, store, generation, state):
            store.reset(
                index.name,
                dimension=generation.dimension,
                batches=_all_chunks(index, state),
                state=state,
            )
    return state, generation


def _continue(
    index: VectorIndex, store: BaseVectorStore, generation: Generation, state: ReplicaState
) -> bool:
    """Bring the store to a moment by what is newer than its own; False if it cannot be."""
    held = store.state(index.name)
    if held == state:
        return True
    if held is None or not _continues(index, held, state):
        return False
    alias = index.database
    chunks = Chunk.objects.using(alias).filter(
        generation_id=state.generation, version__gt=held.version, version__lte=state.version
    )
    rows = list(chunks.values_list("pk", "vector"))
    removed = Tombstone.objects.using(alias).filter(
        generation_id=state.generation, version__gt=held.version, version__lte=state.version
    )
    ids, vectors = _arrays(rows, generation.dimension)
    store.apply(
        index.name,
        ids=ids,
        vectors=vectors,
        removed=list(removed.values_list("chunk_id", flat=True)),
        state=state,
    )
    return True


def _continues(index: VectorIndex, held: ReplicaState, state: ReplicaState) -> bool:
    if held.index_uuid != state.index_uuid or held.generation != state.generation:
        return False
    return held.version < state.version and _is_known(index, held)


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
    index: VectorIndex, state: ReplicaState
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    chunks = Chunk.objects.using(index.database).filter(generation_id=state.generation)
    last = 0
    dimension = _generation(index, state).dimension
    while rows := list(
        chunks.filter(pk__gt=last).order_by("pk").values_list("pk", "vector")[:_BATCH]
    ):
        last = rows[-1][0]
        yield _arrays(rows, dimension)


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
