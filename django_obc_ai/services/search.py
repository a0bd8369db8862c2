"""Similarity search over live rows, with the asking user's eyes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from itertools import accumulate, chain, zip_longest
from typing import Any

import numpy as np
from django.core.exceptions import ValidationError
from django.db import models
from numpy.typing import NDArray

from django_obc_ai import telemetry
from django_obc_ai.conf import suggest
from django_obc_ai.exceptions import IndexNotReadyError, SearchError
from django_obc_ai.indexes import VectorIndex, get_index, get_indexes
from django_obc_ai.indexes.replica import Replica
from django_obc_ai.logs import events
from django_obc_ai.models import Chunk
from django_obc_ai.services._filters import Filters, filtered
from django_obc_ai.services._finding import Wanted, find
from django_obc_ai.services._fusion import MODES
from django_obc_ai.services._query_vectors import QueryVectors
from django_obc_ai.services._search_async import AsyncSearching
from django_obc_ai.services.embeddings import EmbeddingService
from django_obc_ai.types import SearchResult

_MAX_OWN_CHUNKS = 32  # of an object that others are compared with


class SimilaritySearchService(AsyncSearching):
    """Find the objects whose text is nearest to a query."""

    def search(
        self,
        index: str,
        query: str,
        *,
        user: Any,
        k: int = 10,
        threshold: float | None = None,
        filters: Filters | None = None,
        mode: str | None = None,
        offset: int = 0,
        deduplicate: bool = False,
    ) -> list[SearchResult]:
        """Return the k best objects that the user may see, or all there are.

        Rows are read live and through the index's ``visible_to``: what is deleted,
        filtered out or hidden does not appear, and does not take a place either.

        Args:
            index: Name of the index.
            query: Any text; one without any known feature or word finds nothing.
            user: Whose rows are searched; a user, an AnonymousUser or None.
            k: Objects wanted, at least 1.
            threshold: Least cosine similarity in [-1, 1] of every result; None lets the
                embedder's own bound what vectors find, and what words find stays.
            filters: Django lookups on the index's ``filter_fields``, and on nothing behind
                them: a declared relation compares keys only. A mapping, or a `Q` of lookups
                combined by and, or and not.
            mode: "vector", "lexical" (words) or "hybrid" (both, fused by rank); None is the
                index's own.
            offset: So many of the best are passed over, at least 0. While the index and the
                user's rows stay the same, pages follow each other without gap or repetition;
                those of an approximate search, if all have the same k.
            deduplicate: Whether of objects with equal chunk texts only the first comes.

        Returns:
            Best first; one result per object, with its best chunk.

        Raises:
            UnknownIndexError: No such index.
            IndexNotReadyError: Not built, or built with another embedder.
            InvalidFilterError: A filter is not offered, or its value does not fit.
            SearchError: k, threshold, offset or mode is out of range.
        """
        found = self.search_many(
            index,
            [query],
            user=user,
            k=k,
            threshold=threshold,
            filters=filters,
            mode=mode,
            offset=offset,
            deduplicate=deduplicate,
        )
        return found[0]

    def search_many(
        self,
        index: str,
        queries: Sequence[str],
        *,
        user: Any,
        k: int = 10,
        threshold: float | None = None,
        filters: Filters | None = None,
        mode: str | None = None,
        offset: int = 0,
        deduplicate: bool = False,
    ) -> list[list[SearchResult]]:
        """Return what search() returns for each of many queries.

        The queries are embedded together, by a paid embedder in as few calls as its provider
        takes them in.

        Args:
            index: Name of the index.
            queries: Any texts; equal ones are embedded once.
            user: See search(); the same for every query, as is what follows.
            k: Objects wanted for each query, at least 1.
            threshold: See search().
            filters: See search().
            mode: See search().
            offset: See search().
            deduplicate: See search().

        Returns:
            One list for each query, in order.

        Raises:
            UnknownIndexError: No such index.
            IndexNotReadyError: Not built, or built with another embedder.
            InvalidFilterError: A filter is not offered, or its value does not fit.
            SearchError: k, threshold, offset or mode is out of range.
        """
        declared = get_index(index)
        mode = _mode_of(declared, mode)
        _check_range(k, threshold, offset)
        if threshold is not None and mode == "lexical":
            raise SearchError(
                "threshold is a cosine similarity, which a search by words alone has not."
                ' Leave it out, or use mode="hybrid".'
            )
        visible = filtered(declared, _visible(declared, user), filters)

        vectors = QueryVectors(declared, queries, user)
        results = []
        for query in queries:
            wanted = Wanted(
                vectors_of=vectors.of(query),
                k=k,
                text=query,
                mode=mode,
                threshold=threshold,
                offset=offset,
                deduplicate=deduplicate,
                reranker=declared.reranker,
            )
            with _retrieval(declared, k) as span:
                results.append(_counted(span, find(declared, wanted, visible)))
        return results

    def search_all(
        self, query: str, *, user: Any, k: int = 10, threshold: float | None = None
    ) -> list[SearchResult]:
        """Return the k best objects of all indexes that are built, each with its index's name.

        Where indexes share an embedder that learns nothing from a corpus, scores compare and
        results are merged by score, without changing the order that an index gave its own.
        Scores of different embedders, or of different corpora, do not: such groups take turns,
        each giving its best object that is left. So do indexes that search by words alone, to
        which no threshold applies.

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
        groups: dict[str, list[tuple[float, SearchResult]]] = {}
        not_ready: list[IndexNotReadyError] = []
        for declared in get_indexes():
            try:
                is_lexical = _mode_of(declared, None) == "lexical"
                least = None if is_lexical else threshold
                found = self.search(declared.name, query, user=user, k=k, threshold=least)
            except IndexNotReadyError as error:
                events.SEARCH_INDEX_LEFT_OUT.log(
                    about=declared.name, error=error, index=declared.name
                )
                not_ready.append(error)
                continue
            service = EmbeddingService(declared.embedder)
            group = declared.name if service.is_fitted or is_lexical else service.identity
            groups.setdefault(group, []).extend(_falling(found))
        if not_ready and not groups:
            raise not_ready[0]
        for results in groups.values():
            results.sort(key=lambda each: -each[0])
        best: dict[tuple[Any, Any], SearchResult] = {}
        for pair in chain.from_iterable(zip_longest(*groups.values())):
            if pair is not None:
                each = pair[1]
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
        visible = _visible(declared, user)
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
            wanted = Wanted(vectors_of=stored, k=k, threshold=threshold)
            return _counted(span, find(declared, wanted, others))


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


def _falling(found: list[SearchResult]) -> list[tuple[float, SearchResult]]:
    """Return results with the best score of each and those behind it.

    That falls even where results are fused by rank, so that sorting by it keeps their order.
    """
    scores = list(accumulate(reversed([each.score for each in found]), max))
    return list(zip(reversed(scores), found, strict=True))


def _mode_of(index: VectorIndex, mode: str | None) -> str:
    """Return how an index is searched: as asked for, as it declares, or as its embedder does.

    Raises:
        SearchError: There is no such mode.
    """
    found = mode or index.search_mode or EmbeddingService(index.embedder).search_mode
    if found not in MODES:
        raise SearchError(f"mode is {found!r}. {suggest(found, MODES)}")
    return found


def _check_range(k: int, threshold: float | None, offset: int = 0) -> None:
    if k < 1:
        raise SearchError(f"k is {k}; ask for at least 1 result.")
    if offset < 0:
        raise SearchError(f"offset is {offset}; pass over at least 0 results.")
    if threshold is not None and not -1 <= threshold <= 1:
        raise SearchError(f"threshold is {threshold}; cosine similarity lies in [-1, 1].")


def _visible(index: VectorIndex, user: Any) -> models.QuerySet[Any]:
    return index.visible_to(index.get_queryset().using(index.database), user)
