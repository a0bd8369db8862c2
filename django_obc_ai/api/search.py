"""Similarity search, with the asking user's eyes."""

from __future__ import annotations

from typing import Any

from django.db import DataError, ProgrammingError
from rest_framework import exceptions
from rest_framework.request import Request
from rest_framework.response import Response

from django_obc_ai.api.answers import SearchAnswer, SearchQuery
from django_obc_ai.api.base import View
from django_obc_ai.api.schema import described
from django_obc_ai.chat.citations import url_of
from django_obc_ai.indexes import get_index
from django_obc_ai.services.search import SimilaritySearchService
from django_obc_ai.types import SearchResult


class SearchView(View):
    """Search."""

    @described("search", answer=SearchAnswer, body=SearchQuery, errors=[404, 503])
    def post(self, request: Request) -> Response:
        """Find the objects whose text is nearest to a query, of those that the user may see."""
        asked = SearchQuery(data=request.data)
        asked.is_valid(raise_exception=True)
        given = dict(asked.validated_data)
        query, index = given.pop("query"), given.pop("index", None)
        # Of one index alone; without one they say nothing, or were refused.
        own = {name: given.pop(name, None) for name in ("filters", "mode")}
        offset = given.pop("offset")
        service, arguments = SimilaritySearchService(), {"user": request.user, **given}
        if index is None:
            found = service.search_all(query, **arguments)
        else:
            try:
                found = service.search(index, query, offset=offset, **own, **arguments)
            except (DataError, ProgrammingError, OverflowError):
                if not own["filters"]:
                    raise
                # Only the database knows that a number is too large for a column, or no text.
                raise exceptions.ParseError("A filter has a value that does not fit.") from None
        return Response(SearchAnswer({"results": [_shown(each, index) for each in found]}).data)


def _shown(found: SearchResult, index: str | None) -> dict[str, Any]:
    name = found.index or index or ""
    return {
        "index": name,
        "key": get_index(name).key_of(found.object),
        "title": str(found.object),
        "url": url_of(found.object),
        "text": found.text,
        "score": found.score,
        "highlights": found.highlights,
    }
