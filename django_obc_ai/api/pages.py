"""Lists in pages, whatever the project sets for its own."""

from __future__ import annotations

from typing import Any

from django.core.paginator import EmptyPage, Paginator
from django.db.models import QuerySet
from rest_framework import exceptions, serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from django_obc_ai.api.fields import Strict

_USUAL, _MOST = 20, 100


class PageQuery(Strict):
    """Which page of a list."""

    page = serializers.IntegerField(required=False, default=1, min_value=1, max_value=1_000_000)
    page_size = serializers.IntegerField(
        required=False, default=_USUAL, min_value=1, max_value=_MOST
    )


class Page(serializers.Serializer[Any]):
    """One page of a list."""

    count = serializers.IntegerField(help_text="Of all pages.")
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)


def read_query(request: Request, kind: type[Strict]) -> dict[str, Any]:
    """Return what the address asks for.

    Raises:
        ValidationError: It asks for what there is not.
    """
    asked = kind(data=request.query_params.dict())
    asked.is_valid(raise_exception=True)
    found: dict[str, Any] = asked.validated_data
    return found


def page_of(
    request: Request, rows: QuerySet[Any], kind: type[serializers.Serializer[Any]]
) -> Response:
    """Return the page that a request asks for.

    Raises:
        NotFound: There are not so many.
        ValidationError: See read_query().
    """
    asked = read_query(request, PageQuery)
    try:
        page = Paginator(rows, asked["page_size"]).page(asked["page"])
    except EmptyPage:
        raise exceptions.NotFound from None

    def address(has: bool, step: int) -> str | None:
        if not has:
            return None  # without asking for the host, which may be one that is not allowed
        return replace_query_param(request.build_absolute_uri(), "page", asked["page"] + step)

    body = {
        "count": page.paginator.count,
        "next": address(page.has_next(), 1),
        "previous": address(page.has_previous(), -1),
        "results": kind(page.object_list, many=True).data,
    }
    return Response(body)
