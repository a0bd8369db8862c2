"""The OpenAPI schema: how views describe themselves, and how it is made."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, TypeVar

from django.urls import URLPattern
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers

from django_obc_ai import __version__
from django_obc_ai.api.fields import Strict, Text
from django_obc_ai.api.problems import CONTENT_TYPE
from django_obc_ai.api.schema_settings import own_settings

ViewT = TypeVar("ViewT", bound=Callable[..., Any])
JSON = "application/json"
#: What any request may meet, what one may where it matters who asks, and those with a body besides.
_ALWAYS = (406,)
_LOGGING_IN = (401, 403, 429)
_WITH_BODY = (400, 413, 415)
_KEY = OpenApiParameter("key", OpenApiTypes.UUID, OpenApiParameter.PATH)
_OURS = {
    "TITLE": "django-obc-ai",
    "DESCRIPTION": "Questions about a project's data, search, jobs and what they cost.",
    "VERSION": __version__,
    "OAS_VERSION": "3.1.0",
    "POSTPROCESSING_HOOKS": [],
}
_lock = threading.Lock()


class Problem(serializers.Serializer[Any]):
    """What went wrong, as RFC 9457 has it."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    code = serializers.CharField(help_text="The category, for programs.")
    detail = serializers.CharField()

    def get_fields(self) -> dict[str, Any]:
        """Return the fields; one has the name of a property."""
        told = "What is wrong with which field."
        return {
            **super().get_fields(),
            "errors": serializers.DictField(required=False, help_text=told),
        }


class Described(AutoSchema):
    """Also says where nobody has to log in."""

    def get_auth(self) -> list[Any]:
        """Return the ways in; {} is none at all."""
        found: list[Any] = super().get_auth()
        may_be_anonymous = any(getattr(each, "is_open", False) for each in self.view_permissions())
        return [*found, {}] if may_be_anonymous and {} not in found else found

    def _get_format_parameters(self) -> list[Any]:
        """Return none: see `Negotiation`."""
        return []

    def _map_serializer_field(self, field: Any, *arguments: Any, **more: Any) -> dict[str, Any]:
        """Also say what text may be."""
        mapped: Any = super()._map_serializer_field  # which has no types
        found: dict[str, Any] = mapped(field, *arguments, **more)
        return {**found, "pattern": field.pattern} if isinstance(field, Text) else found

    def view_permissions(self) -> list[Any]:
        """Return the permissions of the view."""
        return list(self.view.get_permissions())


def described(
    name: str,
    *,
    answer: Any,
    status: int = 200,
    media_type: str = JSON,
    query: type[Strict] | None = None,
    body: type[Strict] | None = None,
    has_key: bool = False,
    errors: Iterable[int] = (),
    is_probe: bool = False,
    problem: Any = Problem,
) -> Callable[[ViewT], ViewT]:
    """Describe a method of a view.

    Args:
        name: Of the operation, as clients generated from the schema call it.
        answer: Serializer or type of the answer; None: it has no body.
        status: Of the answer.
        media_type: Of the answer.
        query: Serializer of the parameters in the address.
        body: Serializer of the request.
        has_key: Whether the address holds a key.
        errors: Statuses besides those that every method has.
        is_probe: Whether it does not even matter who asks.
        problem: Serializer of the errors.
    """
    codes = {*_ALWAYS, *errors}
    codes |= set(_WITH_BODY) if body is not None else set()
    codes |= {400} if query is not None else set()
    codes |= {404} if has_key else set()
    codes |= set() if is_probe else set(_LOGGING_IN)
    responses: dict[Any, Any] = {status: None} if answer is None else {(status, media_type): answer}
    for code in sorted(codes):
        phrase = HTTPStatus(code).phrase
        responses[code, CONTENT_TYPE] = OpenApiResponse(problem, description=phrase)
    parameters: list[Any] = [_KEY] if has_key else []
    parameters += [query] if query is not None else []
    extend = extend_schema(
        operation_id=name, request=body, responses=responses, parameters=parameters
    )

    def decorate(method: ViewT) -> ViewT:
        # Else the base would be the project's DEFAULT_SCHEMA_CLASS.
        method.kwargs = {"schema": Described}  # type: ignore[attr-defined]
        return extend(method)

    return decorate


def make_schema(patterns: list[URLPattern], *, server: str) -> dict[str, Any]:
    """Return the schema of views that lie below one address.

    It takes a while, so one thread does it at a time, and whoever calls this keeps it.

    Args:
        patterns: Of the views.
        server: Path of that address.
    """
    with _lock, own_settings(_OURS), GENERATOR_STATS.silence():
        generator: Any = SchemaGenerator(patterns=patterns)  # type: ignore[no-untyped-call]
        made: dict[str, Any] = generator.get_schema(public=True)
    made["servers"] = [{"url": server.rstrip("/") or "/"}]
    for component in made["components"]["schemas"].values():
        if component.pop("x-strict", False):
            component["additionalProperties"] = False
    return made
