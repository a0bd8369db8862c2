"""Keeping stores equal to the chunk table, from the last moment that they held."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar, cast
from weakref import WeakKeyDictionary

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from django_obc_ai.backends.lexical_stores import BaseLexicalStore, lexical_stores
from django_obc_ai.backends.vector_stores import BaseVectorStore, vector_stores
from django_obc_ai.exceptions import IndexNotReadyError
from django_obc_ai.indexes import held
from django_obc_ai.indexes.base import VectorIndex
from django_obc_ai.indexes.catching_up import (
    Generation,
    Now,
    catch_up,
    fill,
    is_known,
    read_now,
)
from django_obc_ai.indexes.feeds import Feed, TextFeed, VectorFeed
from django_obc_ai.indexes.generations import RETIRED, uncommitted_mark
from django_obc_ai.models import IndexGeneration
from django_obc_ai.types import ReplicaState

_ATTEMPTS = 5
_MAX_KNOWN_GENERATIONS = 64
_locks: dict[str, threading.Lock] = {}
_locks_guard = threading.Lock()


_known: dict[object, Generation] = {}
#: Stores of one transaction's own view, by its connection, index and column; with each the shared
#: store in whose place it is.
_privates: WeakKeyDictionary[BaseDatabaseWrapper, dict[tuple[str, str], tuple[object, Feed]]] = (
    WeakKeyDictionary()
)
FeedT = TypeVar("FeedT", VectorFeed, TextFeed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """A vector store that holds an index at the moment of its state row.

    Attributes:
        store: Search it under the index's name.
        generation: What queries must be embedded with.
        state: The moment it holds.
        is_exact: Whether to search exactly: no recall was measured that allows otherwise.
    """

    store: BaseVectorStore
    generation: Generation
    state: ReplicaState
    is_exact: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """A lexical store that holds an index at the moment of its state row, or later."""

    store: BaseLexicalStore
    generation: Generation


def sync_words(index: VectorIndex, state: ReplicaState | None = None) -> Words:
    """Return a lexical store that holds what the database held when it was asked, or later.

    Args:
        index: The index.
        state: A moment that was just read; None reads it.

    Raises:
        IndexNotReadyError: It was never built.
    """
    for _ in range(_ATTEMPTS):
        now = read_now(index).state if state is None else state
        state = None  # should it be over, the next one is read
        generation = _generation_of(index, now)
        if generation is None:
            continue
        shared = TextFeed(lexical_stores[index.lexical_store])
        feed = _feed_held(index, shared, generation, now)
        if feed is not None:
            return Words(store=feed.store, generation=generation)
    raise IndexNotReadyError(f"The index {index.name!r} is being rebuilt. Try again.")


def sync(index: VectorIndex) -> Replica:
    """Return a store that holds what the database held when it was asked, or later.

    Reads one row when nothing changed, what is new when something did, and everything when
    the store holds a history that this database does not know: a rolled-back write, a backup.

    Raises:
        IndexNotReadyError: The index was never built.
    """
    for attempt in range(_ATTEMPTS):
        now = read_now(index)
        if now.is_in_database:
            replica = _find_held(index, now, is_first=attempt == 0)
        else:
            replica = _sync_once(index, now.state)
        if replica is not None:
            is_served = replica.generation.id == now.state.generation
            is_enough = now.recall is not None and now.recall >= index.minimum_recall
            return replace(replica, is_exact=not (is_served and is_enough))
    raise IndexNotReadyError(f"The index {index.name!r} is being rebuilt. Try again.")


def _find_held(index: VectorIndex, now: Now, *, is_first: bool) -> Replica | None:
    """Return the store in the index's own database; None if it has just been brought up.

    A search sees what its transaction sees, the writes of that transaction included. A
    transaction that has written nothing lets its table be filled outside of it, which keeps
    nobody waiting for its end; where it does not see that, it has to do it itself.
    """
    generation = _generation_of(index, now.state)
    if generation is None:
        return None
    if now.held_version != now.state.version:
        of = (index, generation.id, generation.dimension)
        is_bound = connections[index.database].in_atomic_block
        is_apart = is_first and is_bound and not _has_written(index.database)
        if not (is_apart and held.ensure_apart(*of)):
            held.ensure(*of)
        return None
    store = held.searched(index, now.state, generation.dimension)
    return Replica(store=store, generation=generation, state=now.state)


def _sync_once(index: VectorIndex, state: ReplicaState) -> Replica | None:
    """Return a replica, or None if another generation began to serve meanwhile."""
    generation = _generation_of(index, state)
    if generation is None:
        return None
    shared = VectorFeed(vector_stores[index.vector_store])
    feed = _feed_held(index, shared, generation, state)
    now = None if feed is None else feed.store.state(index.name)
    if feed is None or now is None:
        return None
    return Replica(store=feed.store, generation=generation, state=now)


def _feed_held(
    index: VectorIndex,
    shared: FeedT,
    generation: Generation,
    state: ReplicaState,
) -> FeedT | None:
    """Return a feed whose store holds a moment; None if another generation began to serve.

    It is the shared one, or a private one where this transaction's view must not reach that.
    """
    name = index.name
    if not connections[index.database].in_atomic_block:
        _privates.pop(connections[index.database], None)
    found = shared.store.state(name)
    if found != state and not _needs_private(index.database, found, state):
        with _lock_of(f"{shared.column} {name}"):
            # What another process has left on the disk may be nearer than what is held here;
            # another thread may have moved on, too.
            shared.store.load(name, state, partial(is_known, index))
            found = shared.store.state(name)
            if not _needs_private(index.database, found, state):
                return shared if _bring_up(index, shared, generation, state) else None
    if found == state and not _needs_private(index.database, found, state):
        return shared
    return _private_feed(index, shared, generation, state)


def _private_feed(
    index: VectorIndex, shared: FeedT, generation: Generation, state: ReplicaState
) -> FeedT | None:
    """Return a feed of a store that this connection alone searches; None as in `_feed_held`.

    A transaction that searches again reads what it has written since. What it took back, in a
    savepoint or as a whole, is no history of the database, and has the store filled anew.
    """
    own = _privates.setdefault(connections[index.database], {})
    key = (index.name, shared.column)
    before, private = own.get(key, (None, shared.private()))
    if before is not shared.store:  # another one is configured since
        private = shared.private()
    if private.store.state(index.name) != state and not catch_up(index, private, generation, state):
        own.pop(key, None)
        if not fill(index, private, generation):
            return None
    own[key] = (shared.store, private)
    return cast("FeedT", private)


def _generation_of(index: VectorIndex, state: ReplicaState) -> Generation | None:
    """Return the generation; None for one that is just being removed, which is not served."""
    try:
        generation = _generation(index, state)
    except IndexGeneration.DoesNotExist:
        return None
    if generation.fingerprint == RETIRED:
        _known.pop(state.generation, None)
        return None
    return generation


def _needs_private(alias: str, held: ReplicaState | None, state: ReplicaState) -> bool:
    """Return whether this transaction's view must not reach the shared replica.

    Its own writes may never be committed, and an older snapshot would set the replica
    back for everyone.
    """
    connection = connections[alias]
    if _has_written(alias):
        return True
    return (
        connection.in_atomic_block
        and held is not None
        and held.generation == state.generation
        and held.version > state.version
    )


def _has_written(alias: str) -> bool:
    """Return whether this transaction has changed an index."""
    return any(entry[1] is uncommitted_mark for entry in connections[alias].run_on_commit)


def _bring_up(index: VectorIndex, feed: Feed, generation: Generation, state: ReplicaState) -> bool:
    """Let the shared store hold the newest moment; False if it cannot be this generation's."""
    store = feed.store
    if store.state(index.name) == state or catch_up(index, feed, generation, state):
        return True
    # One process of the machine reads all rows; the others wait and take what it has written.
    with store.filling(index.name, state):
        store.load(index.name, state, partial(is_known, index))
        return catch_up(index, feed, generation, state) or fill(index, feed, generation)


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
