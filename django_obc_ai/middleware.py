"""The middleware that gives each request its correlation id."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.core.signals import request_finished
from django.http import HttpRequest, HttpResponseBase

from django_obc_ai.logs import correlation

HEADER = "X-Request-ID"


class CorrelationIdMiddleware:
    """Take a request's ``X-Request-ID``, or make one; log by it and send it back.

    An id from outside is taken if it has 1 to 128 letters, digits and ``._:=+/@-``. It stays
    until the response is closed, not until it is returned: a stream is written later, and Django
    itself logs a refusal after the last middleware. Put it first in ``MIDDLEWARE``.
    """

    sync_capable = True
    async_capable = True

    def __init__(
        self, get_response: Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]
    ) -> None:
        """Work as the rest of the chain does, with or without an event loop."""
        self._get_response: Callable[[HttpRequest], Any] = get_response  # Any: one of the two
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)
        request_finished.connect(_leave, dispatch_uid="django_obc_ai.middleware")

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """Answer a request."""
        if self._is_async:
            return self._answer(request)
        correlation_id = _enter(request)
        response: HttpResponseBase = self._get_response(request)
        response[HEADER] = correlation_id
        return response

    async def _answer(self, request: HttpRequest) -> HttpResponseBase:
        correlation_id = _enter(request)
        response: HttpResponseBase = await self._get_response(request)
        response[HEADER] = correlation_id
        return response


def _enter(request: HttpRequest) -> str:
    given = request.headers.get(HEADER, "")
    correlation_id = given if correlation.is_valid(given) else correlation.make_id()
    correlation.enter(correlation_id)
    return correlation_id


def _leave(**_: Any) -> None:
    correlation.leave()
