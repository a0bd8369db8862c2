"""Similarity search over live rows, with the asking user's eyes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
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
from django_obc_ai.indexes import VectorIndex, get_index
from django_obc_ai.indexes.generations import fingerprint_of
from django_obc_ai.indexes.replica import Replica, sync
from django_obc_ai.models import Chunk
from django_obc_ai.services.embeddings import EmbeddingService
from django_obc_ai.types import SearchHit, SearchResult

_OVERFETCH = 4
_MINIMUM_FETCH = 50
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
        service = EmbeddingService(declared.embedder)
        floor = service.minimum_similarity if threshold is None else threshold
        for _ in range(_ATTEMPTS):
            replica = sync(declared)
            wanted = fingerprint_of(declared, service.identity)
            if replica.generation.fingerprint != wanted:
                raise IndexNotReadyError(
                    f"The index {index!r} was built with another embedder or text template than"
                    f" is configured now. Run: manage.py ai_index {index}"
                )
            state = replica.generation.fitted_state
            vector = service.embed_queries([query], state=state, user=user)
            if not vector.any():
                return []
            try:
                return _find(declared, replica, vector, visible, k, floor)
            except (_MovedOnError, DimensionMismatchError):
                continue  # the index changed in between: search what it is now
            except DataError as error:
                raise InvalidFilterError(
                    f"A filter value of the index {index!r} does not fit the database."
                ) from error
        raise IndexNotReadyError(f"The index {index!r} changes faster than it can be searched.")


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
    vector: NDArray[np.float32],
    visible: models.QuerySet[Any],
    k: int,
    floor: float,
) -> list[SearchResult]:
    """Over-fetch; where too few of the hits are visible, search among those that are."""
    wanted = max(_OVERFETCH * k, _MINIMUM_FETCH)
    allowed: NDArray[np.int64] | None = None
    while True:
        hits = replica.store.search(index.name, vector, wanted, allowed)[0]
        held = replica.store.state(index.name)
        if held is None or held.generation != replica.state.generation:
            raise _MovedOnError  # another generation's scores are not comparable
        kept = [hit for hit in hits if hit.score >= floor]
        results = _resolve(index, kept, visible, k)
        # Fewer hits than asked for, or some below the floor: there is nothing further.
        if len(results) >= k or len(hits) < wanted or len(kept) < len(hits):
            return results
        if allowed is None:
            allowed = _allowed_chunks(index, replica, visible)
        else:  # several chunks of one object took the places
            wanted *= _OVERFETCH


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
            )
            if len(results) == k:
                return list(results.values())
    return list(results.values())
