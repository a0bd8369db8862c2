"""Finding the nearest chunks, and behind them the objects that a user may see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from django.db import DataError, models
from numpy.typing import NDArray

from django_obc_ai.exceptions import (
    DimensionMismatchError,
    IndexNotReadyError,
    InvalidFilterError,
)
from django_obc_ai.indexes import VectorIndex
from django_obc_ai.indexes.generations import fingerprint_of
from django_obc_ai.indexes.replica import Replica, sync
from django_obc_ai.models import Chunk
from django_obc_ai.services._sweep import take_up_left_overs
from django_obc_ai.services.embeddings import EmbeddingService
from django_obc_ai.types import SearchHit, SearchResult

_OVERFETCH = 4
_MINIMUM_FETCH = 50
#: Fetched at most before the visible rows' ids are read: where most rows can be seen, so
#: many hits hold enough of them, and nobody reads the ids of a whole table.
_MAXIMUM_FETCH = 400
_ATTEMPTS = 40
_PAGE = 500  # below SQLite's limit on query parameters


def find_nearest(
    declared: VectorIndex,
    vectors_of: Callable[[Replica], NDArray[np.float32]],
    visible: models.QuerySet[Any],
    k: int,
    threshold: float | None,
) -> list[SearchResult]:
    """Search what the index is now, as often as it changes in between."""
    service = EmbeddingService(declared.embedder)
    floor = service.minimum_similarity if threshold is None else threshold
    take_up_left_overs(declared)
    for _ in range(_ATTEMPTS):
        replica = sync(declared)
        wanted = fingerprint_of(declared, service.identity)
        if replica.generation.fingerprint != wanted:
            raise IndexNotReadyError(
                f"The index {declared.name!r} was built with another embedder or text template"
                f" than is configured now. Run: manage.py ai_index {declared.name}"
            )
        vectors = vectors_of(replica)
        if not vectors.any():
            return []
        try:
            return _find(
                declared, replica, vectors, visible, k, floor, is_rounded=service.is_fitted
            )
        except (_MovedOnError, DimensionMismatchError):
            continue  # the index changed in between: search what it is now
        except DataError as error:
            raise InvalidFilterError(
                f"A filter value of the index {declared.name!r} does not fit the database."
            ) from error
    raise IndexNotReadyError(f"The index {declared.name!r} changes faster than it can be searched.")


class _MovedOnError(Exception):
    """What was searched is gone: the store moved on beside this search."""


def _find(
    index: VectorIndex,
    replica: Replica,
    vectors: NDArray[np.float32],
    visible: models.QuerySet[Any],
    k: int,
    floor: float,
    *,
    is_rounded: bool,
) -> list[SearchResult]:
    """Over-fetch; where too few of the hits are visible, search among those that are."""
    wanted = max(_OVERFETCH * k, _MINIMUM_FETCH)
    allowed: NDArray[np.int64] | None = None
    while True:
        try:
            found = replica.store.search(index.name, vectors, wanted, allowed)
        except IndexNotReadyError as error:
            raise _MovedOnError from error  # its files were damaged just now; they are read anew
        hits = _best_of(found, wanted)
        if is_rounded:
            # What an embedder has learned from all rows, hidden ones included, shows in the
            # last digits of a score; neither results nor a threshold tell them apart.
            hits = [replace(hit, score=round(hit.score, 2)) for hit in hits]
        held = replica.store.state(index.name)
        if held is None or held.generation != replica.state.generation:
            raise _MovedOnError  # another generation's scores are not comparable
        kept = [hit for hit in hits if hit.score >= floor]
        results = _resolve(index, kept, visible, k)
        # Fewer hits than asked for, or some below the floor: there is nothing further.
        if len(results) >= k or len(hits) < wanted or len(kept) < len(hits):
            return results
        if allowed is None and wanted < _MAXIMUM_FETCH:
            wanted = _MAXIMUM_FETCH
        elif allowed is None:
            allowed = _allowed_chunks(index, replica, visible)
        else:  # several chunks of one object took the places
            wanted *= _OVERFETCH


def _best_of(found: Sequence[Sequence[SearchHit]], wanted: int) -> list[SearchHit]:
    """Return the best hits of several queries, each chunk once."""
    if len(found) == 1:
        return list(found[0])
    best: dict[int, SearchHit] = {}
    for hit in (hit for hits in found for hit in hits):
        if hit.id not in best or best[hit.id].score < hit.score:
            best[hit.id] = hit
    return sorted(best.values(), key=lambda hit: (-hit.score, hit.id))[:wanted]


def _allowed_chunks(
    index: VectorIndex, replica: Replica, visible: models.QuerySet[Any]
) -> NDArray[np.int64]:
    generation = replica.store.state(index.name)
    chunks = Chunk.objects.using(index.database)
    ids: list[int] = []
    if generation is not None:
        pks = visible.prefetch_related(None).values_list("pk", flat=True)
        keys = [index.key_of_pk(pk) for pk in pks.iterator()]
        for start in range(0, len(keys), _PAGE):
            found = chunks.filter(
                generation_id=generation.generation, object_key__in=keys[start : start + _PAGE]
            )
            ids += found.values_list("pk", flat=True)
    return np.array(ids, dtype=np.int64)


def _resolve(
    index: VectorIndex, hits: Sequence[SearchHit], visible: models.QuerySet[Any], k: int
) -> list[SearchResult]:
    """Return the first k visible objects behind hits, in the order of the hits."""
    results: dict[str, SearchResult] = {}
    for start in range(0, len(hits), _PAGE):
        page = hits[start : start + _PAGE]
        chunks = Chunk.objects.using(index.database).in_bulk([hit.id for hit in page])
        if len(chunks) < len(page):
            raise _MovedOnError
        keys = {chunk.object_key for chunk in chunks.values()} - results.keys()
        by_pk = {index.pk_of(key): key for key in keys}
        objects = {index.key_of(each): each for each in visible.filter(pk__in=list(by_pk))}
        for hit in page:
            chunk = chunks[hit.id]
            if chunk.object_key in results or chunk.object_key not in objects:
                continue
            results[chunk.object_key] = SearchResult(
                object=objects[chunk.object_key],
                score=hit.score,
                text=chunk.text,
                chunk_id=hit.id,
                index=index.name,
            )
            if len(results) == k:
                return list(results.values())
    return list(results.values())
