"""What every view of the REST API has in common."""

from __future__ import annotations

import codecs
import io
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.http import UnreadablePostError
from django.http.response import HttpResponseBase
from rest_framework import exceptions
from rest_framework.authentication import SessionAuthentication
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.parsers import JSONParser
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.settings import api_settings
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView

from django_obc_ai.api import problems
from django_obc_ai.api.schema import Described
from django_obc_ai.conf import get_settings
from django_obc_ai.web.asking import may_ask
from django_obc_ai.web.throttles import count_failed_login, seconds_to_log_in, seconds_to_wait
from django_obc_ai.web.transactions import never_atomic

_DEEPEST = 20  # levels of JSON; what is taken has hardly five


class MayAsk(BasePermission):
    """People who logged in, and others where the settings say so, if the project's rule agrees."""

    @property
    def is_open(self) -> bool:
        """Return whether people who did not log in may."""
        return get_settings().web.anonymous_scope is not None

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

    strict = True

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        """Return what the body holds.

        Raises:
            PayloadTooLarge: It is too long; nothing more of it was read.
            ParseError: It is no JSON, nested too deeply, or holds half a character.
        """
        most = get_settings().web.max_body_bytes
        try:
            body = stream.read(most + 1)
        except UnreadablePostError:
            raise exceptions.ParseError("The request broke off.") from None
        if len(body) > most:
            raise problems.PayloadTooLarge(f"The request has more than {most} bytes.")
        try:
            codecs.decode(body, "utf-8")
            found = super().parse(io.BytesIO(body), media_type, {"encoding": "utf-8"})
            json.dumps(found, ensure_ascii=False).encode()  # "\ud800" is what no database takes
        except (RecursionError, UnicodeError):
            raise exceptions.ParseError("The request is no JSON in UTF-8.") from None
        if _is_deeper(found, _DEEPEST):
            raise exceptions.ParseError(f"The request is nested deeper than {_DEEPEST} levels.")
        return found


def _is_deeper(value: Any, most: int) -> bool:
    """Return whether JSON is nested too deeply for what looks at it later, level by level."""
    level = [value]
    for _ in range(most + 1):
        found = [each for each in level if isinstance(each, dict | list)]
        if not found:
            return False
        level = [
            inner for each in found for inner in (each.values() if isinstance(each, dict) else each)
        ]
    return True


class Renderer(JSONRenderer):
    """JSON, whatever the project sets for its own."""

    ensure_ascii, compact, strict = False, True, True


class Negotiation(DefaultContentNegotiation):
    """By the Accept header alone: a parameter in the address is one of ours, or wrong."""

    settings: Any = SimpleNamespace(URL_FORMAT_OVERRIDE=None)


class View(APIView):
    """JSON in, JSON out, problem details for errors; counted, and never in one transaction."""

    permission_classes: Any = (MayAsk,)
    throttle_classes: Any = (SharedThrottle,)
    parser_classes = (BodyParser,)
    renderer_classes: tuple[type[BaseRenderer], ...] = (Renderer,)
    content_negotiation_class = Negotiation
    versioning_class = None
    metadata_class = None
    schema = Described()
    #: None takes the project's ``DEFAULT_AUTHENTICATION_CLASSES``, as they are at each request.
    authentication_classes: Any = None

    @classmethod
    def as_view(  # type: ignore[override]  # the stubs name a type that they do not export
        cls, **initkwargs: Any
    ) -> Callable[..., HttpResponseBase]:
        """Return the view, which a provider's answer waits in: outside any transaction.

        `LoginRequiredMiddleware` knows sessions alone, so the view decides by itself.
        """
        view: Callable[..., HttpResponseBase] = super().as_view(**initkwargs)
        return login_not_required(never_atomic(view))

    def get_authenticators(self) -> list[Any]:
        """Return what tells who asks."""
        classes = self.authentication_classes
        # Any: the stubs have names, which the framework has imported by now.
        found: Any = api_settings.DEFAULT_AUTHENTICATION_CLASSES if classes is None else classes
        return [each() for each in found or ()]

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Find out who asks, and whether they may; count that also where they may not."""
        try:
            super().initial(request, *args, **kwargs)
        except (exceptions.NotAuthenticated, exceptions.PermissionDenied, PermissionDenied):
            self.check_throttles(request)  # which the framework does last
            raise

    def perform_authentication(self, request: Request) -> None:
        """Find out who asks; a session of somebody who did not log in is protected, too.

        Raises:
            PermissionDenied: There is such a session, and no CSRF token.
            Throttled: The address has given wrong passwords or tokens too often.
        """
        if "HTTP_AUTHORIZATION" in request.META and (wait := seconds_to_log_in(request)):
            raise exceptions.Throttled(wait)  # else one could go on until one is let in
        try:
            super().perform_authentication(request)
        except exceptions.AuthenticationFailed:
            if wait := count_failed_login(request):
                raise exceptions.Throttled(wait) from None
            raise
        user: Any = request.user
        if user is None:  # as UNAUTHENTICATED_USER may say
            request.user = AnonymousUser()
        has_session = (
            hasattr(request._request, "session") and settings.SESSION_COOKIE_NAME in request.COOKIES
        )
        if has_session and not request.user.is_authenticated and request.method not in SAFE_METHODS:
            SessionAuthentication().enforce_csrf(request)

    def get_exception_handler(self) -> Callable[..., Any]:
        """Return ours, whatever the project's is."""
        return problems.handle

    def finalize_response(
        self, request: Request, response: Any, *args: Any, **kwargs: Any
    ) -> Response:
        """Write errors as problem details, whatever is accepted, and let nobody keep anything."""
        made = super().finalize_response(request, response, *args, **kwargs)
        if getattr(made, "exception", False):  # a stream has none
            made.accepted_renderer = problems.ProblemRenderer()
        made["Cache-Control"] = "no-store"
        return made
