"""The asynchronous twins of similarity search."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

from asgiref.sync import sync_to_async

from django_obc_ai.models.connections import release_connections
from django_obc_ai.services._filters import Filters
from django_obc_ai.types import SearchResult

if TYPE_CHECKING:
    from django_obc_ai.services.search import SimilaritySearchService

ResultT = TypeVar("ResultT")


class AsyncSearching:
    """The part of `SimilaritySearchService` that can be awaited.

    A search reads the database, so it is run where Django runs what is synchronous: in one
    thread for each request, and a test's own transaction is seen. Nothing blocks the event
    loop. Several searches of one request come one after the other; `asearch_many` is faster.
    """

    async def asearch(
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
        """See search()."""
        return await _run(
            partial(
                self._service.search,
                index,
                query,
                user=user,
                k=k,
                threshold=threshold,
                filters=filters,
                mode=mode,
                offset=offset,
                deduplicate=deduplicate,
            )
        )

    async def asearch_many(
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
        """See search_many()."""
        return await _run(
            partial(
                self._service.search_many,
                index,
                queries,
                user=user,
                k=k,
                threshold=threshold,
                filters=filters,
                mode=mode,
                offset=offset,
                deduplicate=deduplicate,
            )
        )

    async def asearch_all(
        self, query: str, *, user: Any, k: int = 10, threshold: float | None = None
    ) -> list[SearchResult]:
        """See search_all()."""
        search = self._service.search_all
        return await _run(partial(search, query, user=user, k=k, threshold=threshold))

    async def afind_similar(
        self, index: str, pk: Any, *, user: Any, k: int = 5, threshold: float | None = None
    ) -> list[SearchResult]:
        """See find_similar()."""
        find = self._service.find_similar
        return await _run(partial(find, index, pk, user=user, k=k, threshold=threshold))

    @property
    def _service(self) -> SimilaritySearchService:
        return cast("SimilaritySearchService", self)  # the class that this one is a part of


async def _run(search: Callable[[], ResultT]) -> ResultT:
    return await sync_to_async(_released)(search)


def _released(search: Callable[[], ResultT]) -> ResultT:
    """Search and let connections go, as the chat's twins do."""
    try:
        return search()
    finally:
        release_connections(keeps_lasting=True)
