"""Exact search in memory with numpy: the default that needs nothing else.

One matrix product per query, over every vector. Each process holds its own copy.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from django_obc_ai.backends.vector_stores.base import BaseVectorStore
from django_obc_ai.exceptions import DimensionMismatchError, IndexNotReadyError
from django_obc_ai.types import ReplicaState, SearchHit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from django_obc_ai.backends.vector_stores.base import Batch

_MINIMUM_CAPACITY = 256
_SCORES_PER_BLOCK = 16_000_000  # bounds the (queries, rows) product to 64 MB


@dataclass(frozen=True, slots=True, kw_only=True)
class _Content:
    """One immutable moment of an index.

    The arrays may have room behind ``used`` that later moments fill; rows below ``used``
    never change, so a search that holds this object is never disturbed.

    Attributes:
        ids: (capacity,) int64.
        vectors: (capacity, d) float32.
        is_alive: (used,) bool, copied on every change.
    """

    ids: NDArray[np.int64]
    vectors: NDArray[np.float32]
    is_alive: NDArray[np.bool_]
    used: int
    state: ReplicaState


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
        used = 0
        for batch_ids, batch_vectors in batches:
            _check_dimension(index, batch_vectors, dimension)
            needed = used + len(batch_ids)
            ids, vectors = _grown(ids, vectors, used, needed)
            ids[used:needed] = batch_ids
            vectors[used:needed] = batch_vectors
            used = needed
        content = _Content(
            ids=ids, vectors=vectors, is_alive=np.ones(used, dtype=bool), used=used, state=state
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
            _check_dimension(index, vectors, old.vectors.shape[1])
            gone = np.asarray(removed, dtype=np.int64)
            new = ~np.isin(ids, gone)
            added = int(new.sum())
            is_alive = np.ones(old.used + added, dtype=bool)
            is_alive[: old.used] = old.is_alive & ~np.isin(
                old.ids[: old.used], np.concatenate([gone, ids])
            )
            content = replace(old, is_alive=is_alive, used=old.used + added, state=state)
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
    ) -> list[list[SearchHit]]:
        """See `BaseVectorStore.search`."""
        content = self._held(index)
        if vectors.ndim != 2:
            raise DimensionMismatchError(
                f"Queries for the index {index!r} have {vectors.ndim} axes; give (m, d)."
            )
        _check_dimension(index, vectors, content.vectors.shape[1])
        eligible = content.is_alive
        if allowed_ids is not None:
            allowed = np.asarray(allowed_ids, dtype=np.int64)
            eligible = eligible & np.isin(content.ids[: content.used], allowed)
        rows = np.flatnonzero(eligible)
        if not len(rows):
            return [[] for _ in vectors]
        # A contiguous view where all rows count; a gathered copy where few do.
        matrix = content.vectors[: content.used]
        is_sparse = len(rows) * 4 < content.used
        if is_sparse:
            matrix = matrix[rows]
        hits: list[list[SearchHit]] = []
        block = max(1, _SCORES_PER_BLOCK // len(matrix))
        for start in range(0, len(vectors), block):
            scores = vectors[start : start + block] @ matrix.T
            if not is_sparse:
                scores = scores[:, rows] if len(rows) < content.used else scores
            hits += [_best(content.ids[rows], line, k) for line in scores]
        return hits

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
            raise IndexNotReadyError(
                f"The vector store does not hold the index {index!r}."
                f" Build it: manage.py ai_index {index}"
            ) from None


def _check_dimension(index: str, vectors: NDArray[np.float32], dimension: int) -> None:
    if vectors.shape[-1] != dimension:
        raise DimensionMismatchError(
            f"Vectors with {vectors.shape[-1]} components do not fit the index {index!r},"
            f" which has {dimension}. Rebuild it: manage.py rebuild_vector_index --indices {index}"
        )


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


def _best(ids: NDArray[np.int64], scores: NDArray[np.float32], k: int) -> list[SearchHit]:
    if k < len(scores):
        # Everything that ties with the k-th score stays in, so that ties go by id.
        floor = np.partition(scores, len(scores) - k)[len(scores) - k]
        candidates = np.flatnonzero(scores >= floor)
    else:
        candidates = np.arange(len(scores))
    order = candidates[np.lexsort((ids[candidates], -scores[candidates]))][:k]
    return [SearchHit(id=int(ids[i]), score=min(1.0, max(-1.0, float(scores[i])))) for i in order]
