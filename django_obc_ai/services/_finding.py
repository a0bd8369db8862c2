"""One search: by vectors, by words or by both, in the order in which pages show it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from django.db import DataError, models
from numpy.typing import NDArray

from django_obc_ai.backends.rerankers import rerankers
from django_obc_ai.backends.vector_stores._exact import exact_scores
from django_obc_ai.exceptions import (
    DimensionMismatchError,
    IndexNotReadyError,
    InvalidFilterError,
)
from django_obc_ai.indexes import VectorIndex
from django_obc_ai.indexes.catching_up import Generation
from django_obc_ai.indexes.generations import fingerprint_of
from django_obc_ai.indexes.replica import Replica, sync, sync_words
from django_obc_ai.logs import events
from django_obc_ai.models import Chunk
from django_obc_ai.services._fusion import DEPTH, fuse, rank_score
from django_obc_ai.services._highlights import highlights_of, share_of
from django_obc_ai.services._legs import Found, Leg, Sight, VectorLeg, WordLeg
from django_obc_ai.services._nearest import MINIMUM_FETCH, PAGE, MovedOnError
from django_obc_ai.services._sweep import take_up_left_overs
from django_obc_ai.services.embeddings import EmbeddingService
from django_obc_ai.types import SearchResult

_ATTEMPTS = 40
_MORE = 4
#: What people look at; what is behind these pages is found exactly, see `VectorLeg`.
_PAGES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is searched for.

    Attributes:
        vectors_of: Returns the query as (m, d) float32 for a replica; not asked if the mode
            is "lexical".
        k: Objects wanted.
        text: The query; "" if it is none.
        mode: "vector", "lexical" or "hybrid".
        threshold: Least cosine similarity of every result; None lets the embedder's own bound
            what vectors find.
        offset: So many of the best are passed over.
        deduplicate: Whether equal chunk texts come once.
        reranker: Alias of a reranker, or None.
    """

    vectors_of: Callable[[Replica], NDArray[np.float32]]
    k: int
    text: str = ""
    mode: str = "vector"
    threshold: float | None = None
    offset: int = 0
    deduplicate: bool = False
    reranker: str | None = None

    @property
    def approximate_depth(self) -> int:
        """Return how many hits may be found approximately: of the first pages of this size."""
        fused = DEPTH * 3 // 2 if self.mode == "hybrid" else 0
        return max(MINIMUM_FETCH, _PAGES * self.k, fused)


def find(
    declared: VectorIndex, wanted: Wanted, visible: models.QuerySet[Any]
) -> list[SearchResult]:
    """Search what the index is now, as often as it changes in between.

    Raises:
        IndexNotReadyError: Not built, or built with another embedder.
        InvalidFilterError: A value of a filter does not fit the database.
    """
    take_up_left_overs(declared)
    for _ in range(_ATTEMPTS):
        try:
            search = _Search.of(declared, wanted, visible)
            return search.results()
        except (MovedOnError, DimensionMismatchError):
            continue  # the index changed in between: search what it is now
        except (DataError, OverflowError) as error:
            raise InvalidFilterError(
                f"A filter value of the index {declared.name!r} does not fit the database."
            ) from error
    raise IndexNotReadyError(f"The index {declared.name!r} changes faster than it can be searched.")


@dataclass(slots=True, kw_only=True)
class _Search:
    """One attempt, at one generation of the index.

    Attributes:
        vectors: (m, d) float32; (0, d) if nothing was embedded.
        is_rounded: See `VectorLeg`.
    """

    index: VectorIndex
    wanted: Wanted
    sight: Sight
    vectors: NDArray[np.float32]
    is_rounded: bool
    nearest: VectorLeg | None = None
    words: WordLeg | None = None

    @classmethod
    def of(cls, index: VectorIndex, wanted: Wanted, visible: models.QuerySet[Any]) -> _Search:
        """Bring the stores up that the mode needs, and embed the query."""
        service = EmbeddingService(index.embedder)
        if wanted.mode == "lexical":
            words = sync_words(index)
            _check_embedder(index, words.generation, service)
            sight = Sight(index, visible, words.generation.id)
            none = np.zeros((0, words.generation.dimension), dtype=np.float32)
            found = cls(index=index, wanted=wanted, sight=sight, vectors=none, is_rounded=False)
            found.words = WordLeg(sight, words, wanted.text)
            return found
        replica = sync(index)
        _check_embedder(index, replica.generation, service)
        vectors = wanted.vectors_of(replica)
        sight = Sight(index, visible, replica.generation.id)
        is_rounded = service.is_fitted
        found = cls(index=index, wanted=wanted, sight=sight, vectors=vectors, is_rounded=is_rounded)
        if vectors.any():
            floor = service.minimum_similarity if wanted.threshold is None else wanted.threshold
            found.nearest = VectorLeg(
                sight,
                replica,
                vectors,
                floor=floor,
                is_rounded=is_rounded,
                depth=wanted.approximate_depth,
            )
        if wanted.mode == "hybrid":
            words = sync_words(index, replica.state)
            if words.generation.id != replica.generation.id:
                raise MovedOnError
            found.words = WordLeg(sight, words, wanted.text)
        return found

    def results(self) -> list[SearchResult]:
        """Return the page that is wanted."""
        end = self.wanted.offset + self.wanted.k
        least = rerankers[self.wanted.reranker].candidates if self.wanted.reranker else 0
        count = max(end, least)
        while True:
            order = self._first(count)
            is_all = len(order) < count
            order = _distinct(order) if self.wanted.deduplicate else order
            if is_all or len(order) >= max(end, least):
                break
            count *= _MORE
        if self.wanted.reranker:
            order = self._reranked(order, self.wanted.reranker)
        return self._shown(order[self.wanted.offset : end])

    def _first(self, n: int) -> list[Found]:
        """Return at least the first n objects, or all there are; longer answers begin the same."""
        if self.nearest is None or self.words is None:
            if self.wanted.threshold is not None and self.words is not None:
                return self._first_worded(n)  # nothing is near a query without a vector
            leg: Leg | None = self.nearest or self.words
            return leg.first(n) if leg is not None else []
        near, worded = self.nearest.first(DEPTH), self._first_worded(DEPTH)
        weight = self.index.lexical_weight
        chosen = _better(near, worded, weight)
        if n > len(chosen):
            near = self.nearest.first(n)
            # With a threshold, what words find is among what vectors find.
            if len(near) < n and self.wanted.threshold is None:
                worded = self.words.first(n)
        # All of them: if the store was changed in between, they no longer begin as the chosen do.
        chosen = {each.key: each for each in [*worded, *near]} | chosen
        keys = fuse([[each.key for each in near], [each.key for each in worded]], [1.0, weight])
        return [chosen[key] for key in keys]

    def _first_worded(self, n: int) -> list[Found]:
        """Return the first objects by words; with a threshold, those that reach it."""
        found = self.words.first(n) if self.words is not None else []
        least = self.wanted.threshold
        if least is None or not found:
            return found
        chunks = Chunk.objects.using(self.index.database)
        ids = [each.hit.id for each in found]
        scores = {
            pk: self._similarity(vector)
            for pk, vector in chunks.filter(pk__in=ids).values_list("pk", "vector")
        }
        return [each for each in found if scores.get(each.hit.id, -np.inf) >= least]

    def _similarity(self, vector: bytes | memoryview) -> float:
        """Return the cosine similarity of a stored vector, as the vector store scores it."""
        row = np.frombuffer(bytes(vector), dtype="<f4").astype(np.float32)[None, :]
        if not len(self.vectors) or row.shape[1] != self.vectors.shape[1]:
            return 0.0
        best = max(float(exact_scores(row, query)[0]) for query in self.vectors)
        best = min(1.0, max(-1.0, best))
        return round(best, 2) if self.is_rounded else best

    def _reranked(self, order: list[Found], alias: str) -> list[Found]:
        """Put the best in the reranker's order; as they were, if it fails."""
        reranker = rerankers[alias]
        best, rest = order[: reranker.candidates], order[reranker.candidates :]
        if not best:
            return order
        texts = self._chunks(best)
        try:
            asked = [texts[each.hit.id].text for each in best]
            scores = _checked_scores(reranker.rerank(self.wanted.text, asked), len(best))
        except Exception as error:  # noqa: BLE001 - the results are there without it
            events.SEARCH_NOT_RERANKED.log(about=alias, error=error, index=self.index.name)
            return order
        return [best[number] for number in np.argsort(-scores, kind="stable")] + rest

    def _chunks(self, found: Sequence[Found]) -> dict[int, Chunk]:
        ids, chunks = [each.hit.id for each in found], Chunk.objects.using(self.index.database)
        held: dict[int, Chunk] = {}
        for start in range(0, len(ids), PAGE):
            held |= chunks.in_bulk(ids[start : start + PAGE])
        if len(held) < len(ids):
            raise MovedOnError
        return held

    def _shown(self, page: Sequence[Found]) -> list[SearchResult]:
        """Read rows and chunks of a page, the rows once more through the user's eyes."""
        chunks = self._chunks(page)
        objects: dict[str, Any] = {}
        by_pk = [self.index.pk_of(each.key) for each in page]
        for start in range(0, len(by_pk), PAGE):
            rows = self.sight.visible.filter(pk__in=by_pk[start : start + PAGE])
            objects |= {self.index.key_of(each): each for each in rows}
        if len(objects) < len(page):
            raise MovedOnError  # gone or hidden since: another one takes its place
        return [self._result(each, chunks[each.hit.id], objects[each.key]) for each in page]

    def _result(self, found: Found, chunk: Chunk, instance: Any) -> SearchResult:
        text = self.wanted.text
        if self.wanted.mode == "lexical":
            score = share_of(chunk.text, text)
        elif self.words is None:
            score = found.hit.score
        else:
            score = self._similarity(chunk.vector)
        return SearchResult(
            object=instance,
            score=score,
            text=chunk.text,
            chunk_id=chunk.pk,
            index=self.index.name,
            start=chunk.start,
            end=chunk.end,
            highlights=highlights_of(chunk.text, text),
        )


def _checked_scores(scores: NDArray[np.float32], count: int) -> NDArray[np.float64]:
    found = np.asarray(scores, dtype=np.float64)
    if found.shape != (count,) or not np.isfinite(found).all():
        raise ValueError(f"scores of the shape {found.shape} for {count} texts, or not finite")
    return found


def _better(near: Sequence[Found], worded: Sequence[Found], weight: float) -> dict[str, Found]:
    """Return of each object the chunk that ranks better; that of the vectors, if both do."""
    chosen: dict[str, Found] = {each.key: each for each in near}
    worth = {each.key: rank_score(rank) for rank, each in enumerate(near)}
    for rank, each in enumerate(worded):
        if each.key not in chosen or rank_score(rank, weight) > worth[each.key]:
            chosen[each.key] = each
    return chosen


def _distinct(order: Sequence[Found]) -> list[Found]:
    """Return the first of those with the same text."""
    first: dict[str, Found] = {}
    for each in order:
        first.setdefault(each.content_hash, each)
    return list(first.values())


def _check_embedder(index: VectorIndex, generation: Generation, service: EmbeddingService) -> None:
    if generation.fingerprint != fingerprint_of(index, service.identity):
        raise IndexNotReadyError(
            f"The index {index.name!r} was built with another embedder or text template"
            f" than is configured now. Run: manage.py ai_index {index.name}"
        )
