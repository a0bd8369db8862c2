"""What a search goes by: vectors or words. Each leg gives the first objects that a user may see."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from django.db import models
from numpy.typing import NDArray

from django_obc_ai.exceptions import IndexNotReadyError
from django_obc_ai.indexes import VectorIndex
from django_obc_ai.indexes.replica import Replica, Words
from django_obc_ai.models import Chunk
from django_obc_ai.services._nearest import (
    FEW_VISIBLE,
    MAXIMUM_FETCH,
    MINIMUM_FETCH,
    OVERFETCH,
    PAGE,
    MovedOnError,
    allowed_chunks,
    best_of,
    search_store,
)
from django_obc_ai.types import SearchHit


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An object that may be seen, and its chunk.

    Attributes:
        key: The object's.
        hit: The chunk, and what the leg scored it.
        content_hash: Of the chunk's text.
    """

    key: str
    hit: SearchHit
    content_hash: str


class Sight:
    """Which chunks lead to rows that the user may see; each is asked for once in a search."""

    def __init__(self, index: VectorIndex, visible: models.QuerySet[Any], generation: Any) -> None:
        """Look through a queryset at one generation (its key)."""
        self.index = index
        self.visible = visible
        self._generation = generation
        self._places: dict[int, tuple[str, str]] = {}
        self._is_seen: dict[str, bool] = {}
        self._allowed: NDArray[np.int64] | None = None

    def first(self, hits: Sequence[SearchHit], n: int) -> list[Found]:
        """Return the first n visible objects behind hits, in the order of the hits.

        Raises:
            MovedOnError: A chunk is no longer there.
        """
        found: dict[str, Found] = {}
        for start in range(0, len(hits), PAGE):
            page = hits[start : start + PAGE]
            self._read([hit.id for hit in page])
            for hit in page:
                key, content_hash = self._places[hit.id]
                if key not in found and self._is_seen[key]:
                    found[key] = Found(key=key, hit=hit, content_hash=content_hash)
                    if len(found) == n:
                        return list(found.values())
        return list(found.values())

    def share_of(self, hits: Sequence[SearchHit]) -> float:
        """Return the share of hits, which `first` has gone through, whose objects are visible."""
        seen = sum(self._is_seen[self._places[hit.id][0]] for hit in hits)
        return seen / len(hits) if hits else 0.0

    def allowed(self) -> NDArray[np.int64]:
        """Return the ids of all chunks of visible rows, read once."""
        if self._allowed is None:
            self._allowed = allowed_chunks(self.index, self._generation, self.visible)
        return self._allowed

    def _read(self, ids: Sequence[int]) -> None:
        unknown = [each for each in ids if each not in self._places]
        if not unknown:
            return
        chunks = Chunk.objects.using(self.index.database).filter(pk__in=unknown)
        rows = list(chunks.values_list("pk", "object_key", "content_hash"))
        if len(rows) < len(set(unknown)):
            raise MovedOnError
        self._places |= {pk: (key, content_hash) for pk, key, content_hash in rows}
        keys = {row[1] for row in rows} - self._is_seen.keys()
        if not keys:
            return
        by_pk = {self.index.pk_of(key): key for key in keys}
        pks = self.visible.prefetch_related(None).filter(pk__in=list(by_pk))
        seen = {self.index.key_of_pk(pk) for pk in pks.values_list("pk", flat=True)}
        self._is_seen |= {key: key in seen for key in keys}


class Leg(ABC):
    """One way to search a store.

    Attributes:
        floor: Hits that score less do not count.
        is_scoped: Whether the store searches among the visible rows by itself.
    """

    floor: float = -np.inf
    is_scoped: bool = False

    def __init__(self, sight: Sight) -> None:
        """Search for whoever has this sight."""
        self.sight = sight

    @abstractmethod
    def hits(self, wanted: int, allowed: NDArray[np.int64] | None) -> list[SearchHit]:
        """Return the best chunks; fewer than wanted if there are no more."""

    def first(self, n: int) -> list[Found]:
        """Return the first n visible objects, or all there are; each with its best chunk.

        Over-fetches; where too few of the hits are visible, searches among those that are.
        """
        wanted = max(n + n // 2, MINIMUM_FETCH)
        allowed: NDArray[np.int64] | None = None
        while True:
            hits = self.hits(wanted, allowed)
            kept = [hit for hit in hits if hit.score >= self.floor]
            found = self.sight.first(kept, n)
            # Fewer hits than asked for, or some below the floor: there is nothing further.
            if len(found) >= n or len(hits) < wanted or len(kept) < len(hits):
                return found
            if self.is_scoped or allowed is not None:  # chunks of one object took the places
                wanted *= OVERFETCH
            elif wanted < MAXIMUM_FETCH:
                wanted = MAXIMUM_FETCH
            elif self.sight.share_of(kept) >= FEW_VISIBLE:
                wanted *= OVERFETCH
            else:
                allowed = self.sight.allowed()


class VectorLeg(Leg):
    """The nearest vectors."""

    def __init__(
        self,
        sight: Sight,
        replica: Replica,
        vectors: NDArray[np.float32],
        *,
        floor: float,
        is_rounded: bool,
        depth: int,
    ) -> None:
        """Search a replica.

        Args:
            sight: Whose search it is.
            replica: What is searched.
            vectors: (m, d) float32; a chunk counts as near as to the nearest of them.
            floor: Least cosine similarity.
            is_rounded: Whether scores are rounded: what an embedder has learned from all rows,
                hidden ones included, shows in their last digits. Neither results nor a
                threshold tell them apart.
            depth: So many hits are found approximately, if the replica may be searched so, and
                what is behind them exactly. The same for all pages of a listing: an approximate
                search for more would put others among those that were shown.
        """
        super().__init__(sight)
        self._replica, self._vectors, self._depth = replica, vectors, depth
        self.floor, self._is_rounded = floor, is_rounded
        self.is_scoped = replica.store.is_in_database
        self._near: list[SearchHit] | None = None

    def hits(self, wanted: int, allowed: NDArray[np.int64] | None) -> list[SearchHit]:
        """See `Leg.hits`."""
        if self._replica.is_exact:
            return self._search(wanted, allowed)
        if self._near is None:
            self._near = self._first_near()
        near = self._near
        if wanted <= len(near) or len(near) < self._depth:
            return near[:wanted]
        behind = self._search(wanted, allowed, is_exact=True)
        known = {hit.id for hit in near}
        return near + [hit for hit in behind if hit.id not in known]

    def _first_near(self) -> list[SearchHit]:
        """Return the first hits, approximately; of visible rows alone, if hardly any is."""
        near = self._search(self._depth, None, is_exact=False)
        if not self.is_scoped and len(near) == self._depth:
            self.sight.first(near, len(near))
            if self.sight.share_of(near) < FEW_VISIBLE:
                near = self._search(self._depth, self.sight.allowed(), is_exact=False)
        return near

    def _search(
        self, wanted: int, allowed: NDArray[np.int64] | None, *, is_exact: bool = True
    ) -> list[SearchHit]:
        index, replica, rows = self.sight.index, self._replica, self.sight.visible
        try:
            found = search_store(
                index, replica, self._vectors, wanted, rows, allowed, is_exact=is_exact
            )
        except IndexNotReadyError as error:
            raise MovedOnError from error  # its files were damaged just now; they are read anew
        held = replica.store.state(index.name)
        if held is None or held.generation != replica.state.generation:
            raise MovedOnError  # another generation's scores are not comparable
        hits = best_of(found, wanted)
        return (
            [replace(hit, score=round(hit.score, 2)) for hit in hits] if self._is_rounded else hits
        )


class WordLeg(Leg):
    """The best chunks by words."""

    def __init__(self, sight: Sight, words: Words, query: str) -> None:
        """Search a lexical store for a query."""
        super().__init__(sight)
        self._words, self._query = words, query

    def hits(self, wanted: int, allowed: NDArray[np.int64] | None) -> list[SearchHit]:
        """See `Leg.hits`."""
        index, words = self.sight.index, self._words
        try:
            found = words.store.search(index.name, [self._query], wanted, allowed)[0]
        except IndexNotReadyError as error:
            raise MovedOnError from error
        held = words.store.state(index.name)
        if held is None or held.generation != words.generation.id:
            raise MovedOnError
        return found
