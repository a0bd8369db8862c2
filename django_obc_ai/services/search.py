"""Similarity search over live rows, with the asking user's eyes."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from itertools import chain, zip_longest
from typing import Any

import numpy as np
from django.core.exceptions import EmptyResultSet, FieldError, ValidationError
from django.db import models
from django.db.models.constants import LOOKUP_SEP
from numpy.typing import NDArray

from django_obc_ai import telemetry
from django_obc_ai.conf import suggest
from django_obc_ai.exceptions import (
    IndexNotReadyError,
    InvalidFilterError,
    SearchError,
)
from django_obc_ai.indexes import VectorIndex, get_index, get_indexes
from django_obc_ai.indexes.replica import Replica
from django_obc_ai.logs import events
from django_obc_ai.models import Chunk
from django_obc_ai.services._nearest import find_nearest
from django_obc_ai.services.embeddings import EmbeddingService
from django_obc_ai.types import SearchResult

_MAX_OWN_CHUNKS = 32  # of an object that others are compared with


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
        _check_range(k, threshold)
        visible = _visible(declared, user, filters)

        def embed(replica: Replica) -> NDArray[np.float32]:
            state = replica.generation.fitted_state
            service = EmbeddingService(declared.embedder)
            return service.embed_queries([query], state=state, user=user)

        with _retrieval(declared, k) as span:
            return _counted(span, find_nearest(declared, embed, visible, k, threshold))

    def search_all(
        self, query: str, *, user: Any, k: int = 10, threshold: float | None = None
    ) -> list[SearchResult]:
        """Return the k best objects of all indexes that are built, each with its index's name.

        Where indexes share an embedder that learns nothing from a corpus, scores compare and
        results are merged by score. Scores of different embedders, or of different corpora, do
        not: such groups take turns, each giving its best object that is left.

        Args:
            query: Any text.
            user: Whose rows are searched; every index applies its own ``visible_to``.
            k: Objects wanted in total, at least 1.
            threshold: See search(); the same for every index.

        Returns:
            Best first; an object that several indexes find appears once, where it is best.

        Raises:
            IndexNotReadyError: No index is built for what is configured. One of several that
                is not is left out, which the log says.
            SearchError: k or threshold is out of range.
        """
        _check_range(k, threshold)
        groups: dict[str, list[SearchResult]] = {}
        not_ready: list[IndexNotReadyError] = []
        for declared in get_indexes():
            try:
                found = self.search(declared.name, query, user=user, k=k, threshold=threshold)
            except IndexNotReadyError as error:
                events.SEARCH_INDEX_LEFT_OUT.log(
                    about=declared.name, error=error, index=declared.name
                )
                not_ready.append(error)
                continue
            service = EmbeddingService(declared.embedder)
            group = declared.name if service.is_fitted else service.identity
            groups.setdefault(group, []).extend(found)
        if not_ready and not groups:
            raise not_ready[0]
        for results in groups.values():
            results.sort(key=lambda each: -each.score)
        best: dict[tuple[Any, Any], SearchResult] = {}
        for each in chain.from_iterable(zip_longest(*groups.values())):
            if each is not None:
                best.setdefault((each.object._meta.concrete_model, each.object.pk), each)
        return list(best.values())[:k]

    def find_similar(
        self, index: str, pk: Any, *, user: Any, k: int = 5, threshold: float | None = None
    ) -> list[SearchResult]:
        """Return the k objects nearest to one object, without itself.

        The vectors that are stored for the object are compared; nothing is embedded. An
        object that the user may not see gives the same answer as one that is not there.

        Args:
            index: Name of the index.
            pk: The object's primary key.
            user: Whose rows are searched; a user, an AnonymousUser or None.
            k: Objects wanted, at least 1.
            threshold: See search().

        Returns:
            Best first; [] if the object is absent, hidden or without text.

        Raises:
            UnknownIndexError: No such index.
            IndexNotReadyError: Not built, or built with another embedder.
            SearchError: k or threshold is out of range.
        """
        declared = get_index(index)
        _check_range(k, threshold)
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
        with _retrieval(declared, k) as span:
            return _counted(span, find_nearest(declared, stored, others, k, threshold))


def _retrieval(index: VectorIndex, k: int) -> AbstractContextManager[telemetry.Span]:
    """Cover a search by a span, which holds no text of the query."""
    return telemetry.spanning(
        f"retrieval {index.name}",
        {
            "gen_ai.operation.name": "retrieval",
            "gen_ai.data_source.id": index.name,
            "obc_ai.search.k": k,
        },
    )


def _counted(span: telemetry.Span, found: list[SearchResult]) -> list[SearchResult]:
    span.add({"obc_ai.search.results": len(found)})
    return found


def _check_range(k: int, threshold: float | None) -> None:
    if k < 1:
        raise SearchError(f"k is {k}; ask for at least 1 result.")
    if threshold is not None and not -1 <= threshold <= 1:
        raise SearchError(f"threshold is {threshold}; cosine similarity lies in [-1, 1].")


def _visible(
    index: VectorIndex, user: Any, filters: Mapping[str, Any] | None
) -> models.QuerySet[Any]:
    rows = index.visible_to(index.get_queryset().using(index.database), user)
    for lookup, value in (filters or {}).items():
        last = lookup.split(LOOKUP_SEP)[-1]
        if last in ("regex", "iregex"):
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
        is_pair = isinstance(value, list | tuple) and len(value) == 2
        if last == "range" and lookup not in index.filter_fields and not is_pair:
            # Django would pass on any number of values, and the database fail.
            raise InvalidFilterError(f"The filter {lookup!r} takes two values, from and to.")
    try:
        found = rows.filter(**(filters or {}))
        with suppress(EmptyResultSet):
            # Some lookups look at their value only when they become SQL.
            found.all().query.get_compiler(index.database).as_sql()
        return found
    except (FieldError, ValidationError, ValueError, TypeError, LookupError) as error:
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
