"""Errors as problem details (RFC 9457): what was wrong and what to do, and nothing internal."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from django.core.exceptions import PermissionDenied
from django.core.signals import got_request_exception
from django.http import Http404
from rest_framework import exceptions, status
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response
from rest_framework.views import exception_handler

from django_obc_ai.exceptions import (
    DangerousQuery,
    IndexNotReadyError,
    JobsFullError,
    ObcAIError,
    SearchError,
    TaskRunnerError,
    UnknownConversationError,
    UnknownIndexError,
    UnknownJobError,
)
from django_obc_ai.logs import events

CONTENT_TYPE = "application/problem+json"
#: First match counts.
_STATUSES: tuple[tuple[type[ObcAIError], int], ...] = (
    (UnknownConversationError, status.HTTP_404_NOT_FOUND),
    (UnknownJobError, status.HTTP_404_NOT_FOUND),
    (UnknownIndexError, status.HTTP_404_NOT_FOUND),
    (IndexNotReadyError, status.HTTP_503_SERVICE_UNAVAILABLE),
    (SearchError, status.HTTP_400_BAD_REQUEST),
    (DangerousQuery, status.HTTP_400_BAD_REQUEST),
    (JobsFullError, status.HTTP_503_SERVICE_UNAVAILABLE),
    (TaskRunnerError, status.HTTP_503_SERVICE_UNAVAILABLE),
)


class ProblemRenderer(JSONRenderer):
    """JSON by the name that problem details have."""

    media_type = CONTENT_TYPE
    charset = None


class PayloadTooLarge(exceptions.APIException):
    """The body is longer than ``OBC_AI["WEB"]["max_body_bytes"]``."""

    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_detail = "The request is too long."
    default_code = "too_long"


def handle(error: Exception, context: dict[str, Any]) -> Response:
    """Return the response for any error of a view."""
    response = exception_handler(error, context)  # headers, and Django's own two errors
    headers: dict[str, str] = {}
    if response is not None:
        headers = {name: response[name] for name in ("WWW-Authenticate", "Retry-After")
                   if name in response}  # fmt: skip
        body = _of_framework(error, response.status_code, response.data)
    elif isinstance(error, ObcAIError):
        body = _of_package(error)
    else:
        request = context["request"]._request
        got_request_exception.send(sender=type(context["view"]), request=request)
        events.WEB_REQUEST_FAILED.log(error=error)
        body = _problem(500, "failed", "The request failed. It has been noted.")
    answer = Response(body, status=body["status"], headers=headers, content_type=CONTENT_TYPE)
    answer.exception = True
    return answer


def _of_framework(error: Exception, code: int, data: Any) -> dict[str, Any]:
    if isinstance(error, exceptions.ValidationError):
        body = _problem(code, "invalid", "Some of the request cannot be taken; see errors.")
        body["errors"] = data if isinstance(data, dict) else {"non_field_errors": data}
        return body
    if isinstance(error, Http404 | exceptions.NotFound):
        return _problem(code, "not_found", "There is nothing of yours here.")
    if isinstance(error, PermissionDenied):
        return _problem(code, "permission_denied", "You may not do this.")
    assert isinstance(error, exceptions.APIException)  # noqa: S101 - the handler knows no other
    return _problem(code, error.default_code, str(error.detail))


def _of_package(error: ObcAIError) -> dict[str, Any]:
    code = next((code for kind, code in _STATUSES if isinstance(error, kind)), 503)
    return _problem(code, error.code, str(error))


def _problem(code: int, name: str, detail: str) -> dict[str, Any]:
    title = HTTPStatus(code).phrase
    return {"type": "about:blank", "title": title, "status": code, "code": name, "detail": detail}
