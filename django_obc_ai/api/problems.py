"""Errors as problem details (RFC 9457): what was wrong and what to do, and nothing internal."""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import Any

from django.core.exceptions import (
    BadRequest,
    PermissionDenied,
    RequestDataTooBig,
    SuspiciousOperation,
)
from django.core.signals import got_request_exception
from django.http import Http404
from django.http.multipartparser import MultiPartParserError
from django.utils import timezone
from rest_framework import exceptions, status
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response
from rest_framework.settings import api_settings
from rest_framework.views import exception_handler

from django_obc_ai.exceptions import (
    BudgetExceededError,
    DangerousQuery,
    IndexNotReadyError,
    JobsFullError,
    ObcAIError,
    SearchError,
    UnknownConversationError,
    UnknownIndexError,
    UnknownJobError,
)
from django_obc_ai.logs import events

CONTENT_TYPE = "application/problem+json"
#: First match counts; everything else is 503.
_STATUSES: tuple[tuple[type[ObcAIError], int], ...] = (
    (UnknownConversationError, status.HTTP_404_NOT_FOUND),
    (UnknownJobError, status.HTTP_404_NOT_FOUND),
    (UnknownIndexError, status.HTTP_404_NOT_FOUND),
    (IndexNotReadyError, status.HTTP_503_SERVICE_UNAVAILABLE),
    (SearchError, status.HTTP_400_BAD_REQUEST),
    (DangerousQuery, status.HTTP_400_BAD_REQUEST),
)
#: What is told in place of messages that are for operators: those name settings, files, amounts.
_TOLD: tuple[tuple[type[ObcAIError], str], ...] = (
    (UnknownIndexError, "There is no index of that name."),
    (BudgetExceededError, "What may be spent for now is spent."),
    (JobsFullError, "As many jobs wait as may. Try again later."),
    (IndexNotReadyError, "The index is not built yet."),
)
_AWAY = "What this needs cannot be reached now. Try again later."


class ProblemRenderer(JSONRenderer):
    """JSON by the name that problem details have."""

    media_type = CONTENT_TYPE
    charset = None
    ensure_ascii, compact, strict = False, True, True


class PayloadTooLarge(exceptions.APIException):
    """The body is longer than ``OBC_AI["WEB"]["max_body_bytes"]``."""

    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_detail = "The request is too long."
    default_code = "too_long"


def handle(error: Exception, context: dict[str, Any]) -> Response:
    """Return the response for any error of a view."""
    error = _as_framework_has_it(error)
    response = exception_handler(error, context)  # headers, and Django's own two errors
    headers: dict[str, str] = {}
    if response is not None:
        headers = {name: response[name] for name in ("WWW-Authenticate", "Retry-After")
                   if name in response}  # fmt: skip
        body = _of_framework(error, response.status_code, response.data)
    elif isinstance(error, ObcAIError):
        body = _of_package(error)
        if (seconds := _wait_of(error)) and body["status"] == status.HTTP_503_SERVICE_UNAVAILABLE:
            headers["Retry-After"] = str(seconds)
    else:
        request = context["request"]._request
        got_request_exception.send(sender=type(context["view"]), request=request)
        events.WEB_REQUEST_FAILED.log(error=error)
        body = problem(500, "failed", "The request failed. It has been noted.")
    answer = Response(body, status=body["status"], headers=headers, content_type=CONTENT_TYPE)
    answer.exception = True
    return answer


def problem(code: int, name: str, detail: str, **more: Any) -> dict[str, Any]:
    """Return problem details.

    Args:
        code: Status of HTTP.
        name: Category for programs.
        detail: What was wrong, for people.
        **more: Further members.
    """
    title = HTTPStatus(code).phrase
    facts = {"type": "about:blank", "title": title, "status": code, "code": name, "detail": detail}
    return {**facts, **more}


def _as_framework_has_it(error: Exception) -> Exception:
    """Return what Django answers with 400 as an error that the framework knows."""
    if isinstance(error, RequestDataTooBig):
        return PayloadTooLarge()
    if isinstance(error, SuspiciousOperation | BadRequest | MultiPartParserError):
        return exceptions.ParseError("The request cannot be taken.")
    return error


def _of_framework(error: Exception, code: int, data: Any) -> dict[str, Any]:
    if isinstance(error, exceptions.ValidationError):
        general = api_settings.NON_FIELD_ERRORS_KEY
        found = data if isinstance(data, dict) else {general: data}
        errors = {"non_field_errors" if name == general else name: found[name] for name in found}
        told = "Some of the request cannot be taken; see errors."
        return problem(code, "invalid", told, errors=errors)
    if isinstance(error, Http404 | exceptions.NotFound):
        return problem(code, "not_found", "There is nothing of yours here.")
    if isinstance(error, PermissionDenied):
        return problem(code, "permission_denied", "You may not do this.")
    assert isinstance(error, exceptions.APIException)  # noqa: S101 - the handler knows no other
    detail: Any = error.detail
    if not isinstance(detail, str):  # some packages give more than a sentence
        detail = detail.get("detail") if isinstance(detail, dict) else None
    return problem(code, error.default_code, str(detail or error.default_detail))


def _of_package(error: ObcAIError) -> dict[str, Any]:
    code = next((code for kind, code in _STATUSES if isinstance(error, kind)), 503)
    usual = _AWAY if code == status.HTTP_503_SERVICE_UNAVAILABLE else str(error)
    detail = next((told for kind, told in _TOLD if isinstance(error, kind)), usual)
    return problem(code, error.code, detail)


def _wait_of(error: ObcAIError) -> int:
    """Return after how many whole seconds to come again; 0 where nobody knows."""
    seconds = error.retry_after_seconds
    ends_at = getattr(error, "resets_at", None) or getattr(error, "until", None)
    if seconds is None and ends_at is not None:
        seconds = (ends_at - timezone.now()).total_seconds()
    return max(1, math.ceil(seconds)) if seconds is not None else 0
