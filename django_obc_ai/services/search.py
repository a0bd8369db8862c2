"""Similarity search over live rows, with the asking user's eyes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
from django.core.exceptions import EmptyResultSet, FieldError, ValidationError
from django.db import DataError, models
from django.db.models.constants import LOOKUP_SEP
from numpy.typing import NDArray

from django_obc_ai.conf import suggest
from django_obc_ai.exceptions import (
    DimensionMismatchError,
    IndexNotReadyError,
    InvalidFilterError,
    SearchError,
)
from django_obc_ai.indexes import VectorIndex, get_index, get_indexes
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
_MAX_OWN_CHUNKS = 32  # of an object that others are compared with
#: Of reciprocal rank fusion; from the paper that introduced it (Cormack et al., 2009).
_RANK_OFFSET = 60
_ATTEMPTS = 10
_PAGE = 500  # below SQLite's limit on query parameters


class SimilaritySearchService:
    """Find the objects whose text is nearest to a query."""

    def search(
        self,
        index: str,
        query: str,
        *,
        user: Any,
        k: int = 10,
        threshold: float | None = None,
        filters: Mapping[str, Any] | None = None,
    ) -> list[SearchResult]:
        """Return the k best objects that the user may see, or all there are.

        Rows are read live and through the index's ``visible_to``: what is deleted,
        filtered out or hidden does not appear, and does not take a place either.

        Args:
            index: Name of the index.
            query: Any text; one without any known feature finds nothing.
            user: Whose rows are searched; a user, an AnonymousUser or None.
            k: Objects wanted, at least 1.
            threshold: Least cosine similarity in [-1, 1]; None takes the embedder's own.
            filters: Django lookups on the index's ``filter_fields``, and on nothing behind
                them: a declared relation compares keys only.

        Returns:
            Best first; one result per object, with its best chunk.

        Raises:
            UnknownIndexError: No such index.
            IndexNotReadyError: Not built, or built with another embedder.
            InvalidFilterError: A filter is not offered, or its value does not fit.
            SearchError: k or threshold is out of range.
        """
        declared = get_index(index)
        if k < 1:
            raise SearchError(f"k is {k}; ask for at least 1 result.")
        if threshold is not None and not -1 <= threshold <= 1:
            raise SearchError(f"threshold is {threshold}; cosine similarity lies in [-1, 1].")
        visible = _visible(declared, user, filters)

        def embed(replica: Replica) -> NDArray[np.float32]:
            state = replica.generation.fitted_state
            return EmbeddingService(declared.embedder).embed_queries([query], state=state)

        return _search(declared, embed, visible, k, threshold)

    def search_all(self, query: str, *, user: Any, k: int = 10) -> list[SearchResult]:
        """Return the k best objects of all indexes that the user may see.

        Scores of different embedders cannot be compared, so results are merged by their
        places: the best of each index come first, then the seconds, and so on; an object
        that several indexes of its model find gains by each (reciprocal rank fusion).
        An index that is not built, or built with other settings, is left out.

        Args:
            query: Any text.
            user: Whose rows are searched; a user, an AnonymousUser or None.
            k: Objects wanted in total, at least 1.

        Returns:
            Best first; ``index`` names where each was found, and its best place if in several.

        Raises:
            SearchError: k is out of range.
        """
        fused: dict[tuple[Any, Any], float] = {}
        best: dict[tuple[Any, Any], tuple[int, SearchResult]] = {}
        for declared in get_indexes():
            try:
                found = self.search(declared.name, query, user=user, k=k)
            except IndexNotReadyError:
                continue
            for rank, result in enumerate(found, start=1):
                key = (declared.model._meta.concrete_model, result.object.pk)
                fused[key] = fused.get(key, 0.0) + 1 / (_RANK_OFFSET + rank)
                if key not in best or rank < best[key][0]:
                    best[key] = rank, result
        ordered = sorted(best, key=lambda key: (-fused[key], best[key][1].index))
        return [best[key][1] for key in ordered[:k]]

    def find_similar(self, index: str, pk: Any, *, user: Any, k: int = 5) -> list[SearchResult]:
        """Return the k objects nearest to one object, without itself.

        The vectors that are stored for the object are compared; nothing is embedded. An
        object that the user may not see gives the same answer as one that is not there.

        Args:
            index: Name of the index.
            pk: The object's primary key.
            user: Whose rows are searched; a user, an AnonymousUser or None.
            k: Objects wanted, at least 1.

        Returns:
            Best first; [] if the object is absent, hidden or without text.

        Raises:
            UnknownIndexError: No such index.
            IndexNotReadyError: Not built, or built with another embedder.
            SearchError: k is out of range.
        """
        declared = get_index(index)
        if k < 1:
            raise SearchError(f"k is {k}; ask for at least 1 result.")
        visible = _visible(declared, user, None)
        try:
            key = declared.key_of_pk(pk)
            is_seen = visible.filter(pk=declared.pk_of(key)).exists()
        except (ValidationError, ValueError, TypeError, OverflowError):
            is_seen = False

        def stored(replica: Replica) -> NDArray[np.float32]:
            dimension = replica.generation.dimension
            if not is_seen:
                return np.zeros((0, dimension), dtype=np.float32)
            chunks = Chunk.objects.using(declared.database).filter(
                generation_id=replica.state.generation, object_key=key
            )
            held = chunks.order_by("number").values_list("vector", flat=True)[:_MAX_OWN_CHUNKS]
            joined = b"".join(bytes(vector) for vector in held)
            return np.frombuffer(joined, dtype="<f4").reshape(-1, dimension).astype(np.float32)

        others = visible.exclude(pk=declared.pk_of(key)) if is_seen else visible
        return _search(declared, stored, others, k, None)


def _search(
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
    """Chunks that were found are gone: the store moved on beside this search."""


def _visible(
    index: VectorIndex, user: Any, filters: Mapping[str, Any] | None
) -> models.QuerySet[Any]:
    rows = index.visible_to(index.get_queryset().using(index.database), user)
    for lookup, value in (filters or {}).items():
        if lookup.split(LOOKUP_SEP)[-1] in ("regex", "iregex"):
            raise InvalidFilterError(
                f"The index {index.name!r} does not filter by regular expression: a pattern may"
                " take for ever. Use contains or startswith."
            )
        if isinstance(value, str) and "\x00" in value:
            raise InvalidFilterError(f"The value of the filter {lookup!r} holds a NUL character.")
        if _path_of(lookup, rows) not in index.filter_fields:
            raise InvalidFilterError(
                f"The index {index.name!r} offers no filter {lookup!r}."
                f" {suggest(lookup, index.filter_fields)}"
            )
    try:
        found = rows.filter(**(filters or {}))
        with suppress(EmptyResultSet):
            # Some lookups look at their value only when they become SQL.
            found.all().query.get_compiler(index.database).as_sql()
        return found
    except (FieldError, ValidationError, ValueError, TypeError) as error:
        raise InvalidFilterError(
            f"A filter of the index {index.name!r} has a lookup or value that does not fit:"
            f" {', '.join(sorted(filters or {}))}."
        ) from error


def _path_of(lookup: str, rows: models.QuerySet[Any]) -> str:
    """Return the whole field path of a lookup: what a declared relation leads to is not it."""
    try:
        _, path, _ = rows.query.solve_lookup_type(lookup)
    except FieldError:
        return ""
    return LOOKUP_SEP.join(path)


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
        found = replica.store.search(index.name, vectors, wanted, allowed)
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
