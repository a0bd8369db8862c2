"""One immutable moment of an index: a snapshot, what was removed from it, what was added."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from django_obc_ai.backends.vector_stores._exact import largest_norm, nearest
from django_obc_ai.backends.vector_stores._snapshots import Snapshot
from django_obc_ai.types import ReplicaState

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from django_obc_ai.backends.vector_stores._exact import Scored
    from django_obc_ai.backends.vector_stores._scan import Scanner

_MINIMUM_CAPACITY = 64
#: Fewer allowed rows than this, or than one in so many, are gathered instead of scanned.
_GATHERED_ROWS = 1_000
_GATHERED_SHARE = 64
_ROWS_PER_BLOCK = 8_192


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """Rows in memory. The arrays may have room that later moments fill; used rows never change.

    Attributes:
        ids: (capacity,) int64.
        vectors: (capacity, d) float32.
        versions: (capacity,) int64, the version of the moment that brought the row.
        is_alive: (used,) bool, copied on every change.
        largest: Length of the longest vector.
    """

    ids: NDArray[np.int64]
    vectors: NDArray[np.float32]
    versions: NDArray[np.int64]
    is_alive: NDArray[np.bool_]
    largest: float

    @property
    def used(self) -> int:
        """Return how many rows there are, removed ones included."""
        return len(self.is_alive)

    def rows(self, mask: NDArray[np.bool_]) -> Delta:
        """Return a copy with some rows, all alive."""
        kept = np.flatnonzero(mask)
        return Delta(
            ids=self.ids[kept],
            vectors=self.vectors[kept],
            versions=self.versions[kept],
            is_alive=np.ones(len(kept), dtype=bool),
            largest=self.largest,
        )

    def changed(
        self,
        gone: NDArray[np.int64],
        ids: NDArray[np.int64],
        vectors: NDArray[np.float32],
        version: int,
    ) -> Delta:
        """Return the delta without some ids and with new rows behind its own."""
        used, needed = self.used, self.used + len(ids)
        is_alive = np.ones(needed, dtype=bool)
        is_alive[:used] = self.is_alive & ~np.isin(self.ids[:used], gone)
        own = self if needed <= len(self.ids) else self._with_room(needed)
        own.ids[used:needed] = ids
        own.vectors[used:needed] = vectors
        own.versions[used:needed] = version
        largest = max(self.largest, largest_norm(vectors))
        return replace(own, is_alive=is_alive, largest=largest)

    def _with_room(self, needed: int) -> Delta:
        capacity, used = max(_MINIMUM_CAPACITY, needed, 2 * len(self.ids)), self.used
        larger = empty_delta(self.vectors.shape[1], capacity)
        larger.ids[:used] = self.ids[:used]
        larger.vectors[:used] = self.vectors[:used]
        larger.versions[:used] = self.versions[:used]
        return larger


def empty_delta(dimension: int, capacity: int = 0) -> Delta:
    """Return a delta without rows."""
    return Delta(
        ids=np.empty(capacity, dtype=np.int64),
        vectors=np.empty((capacity, dimension), dtype=np.float32),
        versions=np.empty(capacity, dtype=np.int64),
        is_alive=np.empty(0, dtype=bool),
        largest=0.0,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a search reads. A change makes another one; a running search keeps its own.

    Attributes:
        base: The snapshot.
        alive: Bits of the snapshot's rows that still count, lowest bit first.
        dead: How many of them do not.
        delta: Rows that came after the snapshot.
        state: The moment that all this is.
    """

    base: Snapshot
    alive: NDArray[np.uint8]
    dead: int
    delta: Delta
    state: ReplicaState

    @property
    def dimension(self) -> int:
        """Return d."""
        return int(self.base.vectors.shape[1])

    @property
    def count(self) -> int:
        """Return how many rows count."""
        return len(self.base.ids) - self.dead + int(self.delta.is_alive.sum())

    @property
    def changes(self) -> int:
        """Return how far it is from its snapshot, in rows."""
        return self.dead + self.delta.used

    @property
    def has_replaced(self) -> bool:
        """Return whether an id of the snapshot has another vector now. Those of chunks never do."""
        ids = self.delta.ids[: self.delta.used][self.delta.is_alive]
        return bool(np.isin(ids, self.base.ids).any())

    def applied(
        self,
        ids: NDArray[np.int64],
        vectors: NDArray[np.float32],
        removed: Sequence[int],
        state: ReplicaState,
    ) -> Content:
        """Return the moment after some rows came and went; an id in both is gone."""
        gone = np.asarray(removed, dtype=np.int64)
        is_new = ~np.isin(ids, gone)
        touched = np.concatenate([gone, ids])
        rows = self.base_rows(touched)
        alive = self.alive
        if len(rows):
            alive = alive.copy()
            np.bitwise_and.at(alive, rows >> 3, ~(np.uint8(1) << (rows & 7).astype(np.uint8)))
        return Content(
            base=self.base,
            alive=alive,
            dead=self.dead + len(rows),
            delta=self.delta.changed(touched, ids[is_new], vectors[is_new], state.version),
            state=state,
        )

    def base_rows(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the snapshot's rows of some ids that still count, rising, each once."""
        if not len(self.base.ids):
            return np.empty(0, dtype=np.int64)
        wanted = _rising(ids)
        rows = np.minimum(np.searchsorted(self.base.ids, wanted), len(self.base.ids) - 1)
        rows = rows[self.base.ids[rows] == wanted]
        kept: NDArray[np.int64] = rows[(self.alive[rows >> 3] >> (rows & 7)) & 1 == 1]
        return kept

    def is_base_alive(self) -> NDArray[np.bool_]:
        """Return which of the snapshot's rows count, (n,) bool."""
        bits = np.unpackbits(self.alive, count=len(self.base.ids), bitorder="little")
        return bits.view(np.bool_)

    def on(self, base: Snapshot) -> Content:
        """Return the same moment on a snapshot of one between its own snapshot and this one."""
        is_later = self.delta.versions[: self.delta.used] > base.state.version
        delta = self.delta.rows(self.delta.is_alive & is_later)
        held = np.concatenate(
            [
                self.base.ids[self.is_base_alive()],
                self.delta.ids[: self.delta.used][self.delta.is_alive & ~is_later],
            ]
        )
        is_alive = np.isin(base.ids, held)
        return Content(
            base=base,
            alive=np.packbits(is_alive, bitorder="little"),
            dead=len(base.ids) - int(is_alive.sum()),
            delta=delta,
            state=self.state,
        )

    def blocks(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Yield all rows that count by rising id, in blocks."""
        extra = self.delta.rows(self.delta.is_alive)
        order = np.argsort(extra.ids)
        is_alive = self.is_base_alive()
        done = 0
        for start in range(0, len(self.base.ids), _ROWS_PER_BLOCK):
            end = min(start + _ROWS_PER_BLOCK, len(self.base.ids))
            until = int(np.searchsorted(extra.ids[order], self.base.ids[end - 1]))
            kept, between = np.flatnonzero(is_alive[start:end]) + start, order[done:until]
            done = until
            ids = np.concatenate([self.base.ids[kept], extra.ids[between]])
            vectors = np.concatenate([self.base.vectors[kept], extra.vectors[between]])
            rising = np.argsort(ids)
            yield ids[rising], vectors[rising]
        yield extra.ids[order[done:]], extra.vectors[order[done:]]

    def nearest(
        self,
        scanner: Scanner,
        queries: NDArray[np.float32],
        k: int,
        allowed_ids: Sequence[int] | NDArray[np.int64] | None,
    ) -> list[Scored]:
        """Return at least the k nearest rows to each query, exactly scored."""
        fresh = self.nearest_in_delta(queries, k, allowed_ids)
        allowed = None if allowed_ids is None else np.asarray(allowed_ids, dtype=np.int64)
        settled = self._nearest_in_base(scanner, queries, k, allowed)
        return [
            (np.concatenate([one[0], other[0]]), np.concatenate([one[1], other[1]]))
            for one, other in zip(settled, fresh, strict=True)
        ]

    def nearest_in_delta(
        self,
        queries: NDArray[np.float32],
        k: int,
        allowed_ids: Sequence[int] | NDArray[np.int64] | None,
    ) -> list[Scored]:
        """Return at least the k nearest rows in memory to each query, exactly scored."""
        delta, used = self.delta, self.delta.used
        eligible = delta.is_alive
        if allowed_ids is not None and used:
            allowed = np.asarray(allowed_ids, dtype=np.int64)
            eligible = eligible & np.isin(delta.ids[:used], allowed)
        return nearest(
            delta.vectors[:used],
            delta.ids[:used],
            queries,
            k,
            largest=delta.largest,
            eligible=eligible,
        )

    def _nearest_in_base(
        self,
        scanner: Scanner,
        queries: NDArray[np.float32],
        k: int,
        allowed: NDArray[np.int64] | None,
    ) -> list[Scored]:
        base, total = self.base, len(self.base.ids)
        if allowed is None:
            bits = self.alive if self.dead else None
            return scanner.nearest(base, queries, k, eligible=bits, count=total - self.dead)
        rows = self.base_rows(allowed)
        if len(rows) <= max(_GATHERED_ROWS, total // _GATHERED_SHARE):
            return nearest(base.vectors[rows], base.ids[rows], queries, k, largest=base.largest)
        mask = np.zeros(total, dtype=bool)
        mask[rows] = True
        bits = np.packbits(mask, bitorder="little")
        return scanner.nearest(base, queries, k, eligible=bits, count=len(rows))


def _rising(ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return ids in order, each once; faster than numpy.unique, which may hash."""
    if (ids[1:] > ids[:-1]).all():
        return ids
    ordered = np.sort(ids)
    unique: NDArray[np.int64] = ordered[np.append(ordered[1:] != ordered[:-1], True)]
    return unique


def content_of(base: Snapshot) -> Content:
    """Return a snapshot as it is, without any change."""
    return Content(
        base=base,
        alive=np.packbits(np.ones(len(base.ids), dtype=bool), bitorder="little"),
        dead=0,
        delta=empty_delta(base.vectors.shape[1]),
        state=base.state,
    )
