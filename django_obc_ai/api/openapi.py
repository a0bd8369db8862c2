"""The address of the schema."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.settings import api_settings

from django_obc_ai.api.base import View
from django_obc_ai.api.schema import described, make_schema
from django_obc_ai.conf import get_settings

_made: dict[Any, dict[str, Any]] = {}
_MOST_MADE = 8


class SchemaView(View):
    """The schema."""

    permission_classes = (AllowAny,)

    @described("read_schema", answer=OpenApiTypes.OBJECT)
    def get(self, request: Request) -> Response:
        """Return the schema of this API in OpenAPI 3.1."""
        return Response(schema_at(request.path.removesuffix("schema/")))


def schema_at(server: str) -> dict[str, Any]:
    """Return the schema of the API, made once for each address and way to log in.

    Args:
        server: The path that the API lies below.
    """
    classes = tuple(api_settings.DEFAULT_AUTHENTICATION_CLASSES or ())
    key = (server, classes, get_settings().web.anonymous_scope is None)
    if key not in _made:
        from django_obc_ai.api.urls import urlpatterns  # which import this module

        if len(_made) >= _MOST_MADE:  # as many as there are hosts' prefixes, in a strange project
            _made.clear()
        _made[key] = make_schema(list(urlpatterns), server=server)
    return _made[key]
