"""What every view of the REST API has in common."""

from __future__ import annotations

import codecs
import io
from collections.abc import Callable
from typing import Any

from django.db import transaction
from django.http.response import HttpResponseBase
from rest_framework import exceptions
from rest_framework.parsers import JSONParser
from rest_framework.permissions import BasePermission
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView

from django_obc_ai.api import problems
from django_obc_ai.conf import get_settings
from django_obc_ai.web.asking import may_ask
from django_obc_ai.web.throttles import seconds_to_wait


class MayAsk(BasePermission):
    """People who logged in, and others where the settings say so."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """See `may_ask`."""
        return may_ask(request.user)


class SharedThrottle(BaseThrottle):
    """Counts by ``OBC_AI["WEB"]["throttles"]``, whatever the project sets for its own views."""

    _wait = 0

    def allow_request(self, request: Request, view: Any) -> bool:
        """Count a request."""
        self._wait = seconds_to_wait(request)
        return not self._wait

    def wait(self) -> float:
        """Return after how many seconds to come again."""
        return self._wait


class BodyParser(JSONParser):
    """JSON of ``OBC_AI["WEB"]["max_body_bytes"]`` at most."""

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        """Return what the body holds.

        Raises:
            PayloadTooLarge: It is too long; nothing more of it was read.
            ParseError: It is no JSON, or nested too deeply.
        """
        most = get_settings().web.max_body_bytes
        body = stream.read(most + 1)
        if len(body) > most:
            raise problems.PayloadTooLarge(f"The request has more than {most} bytes.")
        try:
            codecs.decode(body, "utf-8")
            return super().parse(io.BytesIO(body), media_type, {"encoding": "utf-8"})
        except (RecursionError, UnicodeDecodeError):
            raise exceptions.ParseError("The request is no JSON in UTF-8.") from None


class View(APIView):
    """JSON in, JSON out, problem details for errors; counted, and never in one transaction."""

    permission_classes = (MayAsk,)
    throttle_classes = (SharedThrottle,)
    parser_classes = (BodyParser,)
    renderer_classes: tuple[type[BaseRenderer], ...] = (JSONRenderer,)
    versioning_class = None
    metadata_class = None

    @classmethod
    def as_view(  # type: ignore[override]  # the stubs name a type that they do not export
        cls, **initkwargs: Any
    ) -> Callable[..., HttpResponseBase]:
        """Return the view, which a provider's answer waits in: outside any transaction."""
        view: Callable[..., HttpResponseBase] = super().as_view(**initkwargs)
        return transaction.non_atomic_requests(view)

    def get_exception_handler(self) -> Callable[..., Any]:
        """Return ours, whatever the project's is."""
        return problems.handle
