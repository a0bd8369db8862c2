"""Exact search in memory with numpy: the default that needs nothing else.

One matrix product per query, over every vector. Each process holds its own copy.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from django_obc_ai.backends.vector_stores._exact import best, largest_norm, nearest
from django_obc_ai.backends.vector_stores.base import (
    BaseVectorStore,
    check_dimension,
    check_queries,
    not_held,
)
from django_obc_ai.types import ReplicaState, SearchHit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from django_obc_ai.backends.vector_stores.base import Batch

_MINIMUM_CAPACITY = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class _Content:
    """One immutable moment of an index.

    The arrays may have room behind ``used`` that later moments fill; rows below ``used``
    never change, so a search that holds this object is never disturbed.

    Attributes:
        ids: (capacity,) int64.
        vectors: (capacity, d) float32.
        is_alive: (used,) bool, copied on every change.
        largest: Length of the longest vector so far; it bounds rounding errors.
    """

    ids: NDArray[np.int64]
    vectors: NDArray[np.float32]
    is_alive: NDArray[np.bool_]
    used: int
    state: ReplicaState
    largest: float


class NumpyVectorStore(BaseVectorStore):
    """Exact cosine search over vectors held in memory."""

    def __init__(self) -> None:
        """Start empty."""
        self._contents: dict[str, _Content] = {}
        self._lock = threading.Lock()

    def state(self, index: str) -> ReplicaState | None:
        """See `BaseVectorStore.state`."""
        content = self._contents.get(index)
        return None if content is None else content.state

    def reset(
        self, index: str, *, dimension: int, batches: Iterable[Batch], state: ReplicaState
    ) -> None:
        """See `BaseVectorStore.reset`."""
        ids = np.empty(_MINIMUM_CAPACITY, dtype=np.int64)
        vectors = np.empty((_MINIMUM_CAPACITY, dimension), dtype=np.float32)
        used, largest = 0, 0.0
        for batch_ids, batch_vectors in batches:
            check_dimension(index, batch_vectors, dimension)
            needed = used + len(batch_ids)
            ids, vectors = _grown(ids, vectors, used, needed)
            ids[used:needed] = batch_ids
            vectors[used:needed] = batch_vectors
            used = needed
            largest = max(largest, largest_norm(batch_vectors))
        content = _Content(
            ids=ids,
            vectors=vectors,
            is_alive=np.ones(used, dtype=bool),
            used=used,
            state=state,
            largest=largest,
        )
        with self._lock:
            self._contents[index] = content

    def apply(
        self,
        index: str,
        *,
        ids: NDArray[np.int64],
        vectors: NDArray[np.float32],
        removed: Sequence[int],
        state: ReplicaState,
    ) -> None:
        """See `BaseVectorStore.apply`."""
        with self._lock:
            old = self._held(index)
            check_dimension(index, vectors, old.vectors.shape[1])
            gone = np.asarray(removed, dtype=np.int64)
            new = ~np.isin(ids, gone)
            added = int(new.sum())
            is_alive = np.ones(old.used + added, dtype=bool)
            is_alive[: old.used] = old.is_alive & ~np.isin(
                old.ids[: old.used], np.concatenate([gone, ids])
            )
            content = replace(
                old,
                is_alive=is_alive,
                used=old.used + added,
                state=state,
                largest=max(old.largest, largest_norm(vectors)),
            )
            all_ids, all_vectors = _grown(old.ids, old.vectors, old.used, content.used)
            all_ids[old.used : content.used] = ids[new]
            all_vectors[old.used : content.used] = vectors[new]
            content = replace(content, ids=all_ids, vectors=all_vectors)
            dead = content.used - int(is_alive.sum())
            self._contents[index] = _compacted(content) if dead * 4 > content.used else content

    def search(
        self,
        index: str,
        vectors: NDArray[np.float32],
        k: int,
        allowed_ids: Sequence[int] | NDArray[np.int64] | None = None,
        *,
        is_exact: bool = True,
    ) -> list[list[SearchHit]]:
        """See `BaseVectorStore.search`."""
        content = self._held(index)
        check_queries(index, vectors, content.vectors.shape[1])
        eligible = content.is_alive
        if allowed_ids is not None:
            allowed = np.asarray(allowed_ids, dtype=np.int64)
            eligible = eligible & np.isin(content.ids[: content.used], allowed)
        rows = np.flatnonzero(eligible)
        if not len(rows):
            return [[] for _ in vectors]
        # A contiguous view where many rows count; a gathered copy where few do.
        matrix, ids = content.vectors[: content.used], content.ids[: content.used]
        mask: NDArray[np.bool_] | None = eligible if len(rows) < content.used else None
        if len(rows) * 4 < content.used:
            matrix, ids, mask = matrix[rows], ids[rows], None
        found = nearest(matrix, ids, vectors, k, largest=content.largest, eligible=mask)
        return [best(scored, k) for scored in found]

    def count(self, index: str) -> int:
        """See `BaseVectorStore.count`."""
        content = self._contents.get(index)
        return 0 if content is None else int(content.is_alive.sum())

    def drop(self, index: str) -> None:
        """See `BaseVectorStore.drop`."""
        with self._lock:
            self._contents.pop(index, None)

    def close(self) -> None:
        """Forget everything."""
        with self._lock:
            self._contents.clear()

    def _held(self, index: str) -> _Content:
        try:
            return self._contents[index]
        except KeyError:
            raise not_held(index) from None


def _grown(
    ids: NDArray[np.int64], vectors: NDArray[np.float32], used: int, needed: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the arrays, or larger copies of their used part, with room for needed rows."""
    if needed <= len(ids):
        return ids, vectors
    capacity = max(needed, 2 * len(ids))
    more_ids = np.empty(capacity, dtype=np.int64)
    more_vectors = np.empty((capacity, vectors.shape[1]), dtype=np.float32)
    more_ids[:used] = ids[:used]
    more_vectors[:used] = vectors[:used]
    return more_ids, more_vectors


def _compacted(content: _Content) -> _Content:
    rows = np.flatnonzero(content.is_alive)
    return replace(
        content,
        ids=content.ids[rows],
        vectors=content.vectors[rows],
        is_alive=np.ones(len(rows), dtype=bool),
        used=len(rows),
    )
