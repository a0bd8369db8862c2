"""Liveness and readiness for probes, and the whole report for operators.

Nothing here spends, and no provider is asked. What was found is kept for a few seconds, so that
no number of requests makes more work than one.
"""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import Any

from rest_framework import serializers, status
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from django_obc_ai.api import problems
from django_obc_ai.api.base import View
from django_obc_ai.api.schema import Problem, described
from django_obc_ai.api.usage import PERMISSION
from django_obc_ai.services.health import HealthItem, HealthReport, check_health
from django_obc_ai.web.people import may

_KEPT_SECONDS = 5.0
_TIMEOUT_SECONDS = 5.0
#: Without these a process is no use. A provider that is away takes no server out of service.
_NEEDED = ("database", "cost store")
_STATES = ("error", "unknown", "warning", "ok")  # the worst first
_clock = time.monotonic


class Kept:
    """A report of this process, made anew when it is too old.

    While one request makes it, others are answered with the old one, or wait for the first.
    """

    def __init__(self, only: tuple[str, ...] = ()) -> None:
        """Name the parts to look at; none looks at all."""
        self._look = partial(check_health, may_ping=False, only=only)
        self._lock = threading.Lock()
        self._made: tuple[float, HealthReport] | None = None

    def read(self) -> HealthReport:
        """Return the report."""
        made = self._made
        if made is None or _clock() - made[0] >= _KEPT_SECONDS:
            if self._lock.acquire(blocking=made is None):
                try:
                    if self._made is made:
                        report = self._look(timeout_seconds=_TIMEOUT_SECONDS)
                        self._made = (_clock(), report)
                finally:
                    self._lock.release()
            made = self._made
        assert made is not None  # noqa: S101 - whoever waited finds what was made
        return made[1]

    def forget(self) -> None:
        """Look again at the next request."""
        self._made = None


whole, needed = Kept(), Kept(_NEEDED)


class Item(serializers.Serializer[Any]):
    """The state of one part."""

    name = serializers.CharField()
    status = serializers.ChoiceField(choices=_STATES)
    message = serializers.CharField()
    hint = serializers.CharField()


class Health(serializers.Serializer[Any]):
    """How everything is."""

    health = serializers.ChoiceField(choices=("ok", "warning"))
    items = Item(many=True, required=False, help_text="For people who may view the dashboard.")


class Unhealthy(Problem):
    """What went wrong; where the parts are looked at, also how everything is."""

    health = serializers.ChoiceField(choices=("error", "unknown"), required=False)
    items = Item(many=True, required=False)


class Alive(serializers.Serializer[Any]):
    """That it is well."""

    health = serializers.ChoiceField(choices=("ok",))


class HealthView(View):
    """The state of all parts."""

    permission_classes = (AllowAny,)
    throttle_classes = ()

    @described("read_health", answer=Health, errors=[503], problem=Unhealthy)
    def get(self, request: Request) -> Response:
        """Say how everything is; what exactly, to people who may view the dashboard."""
        items = whole.read().items
        found: dict[str, Any] = {"health": _worst(items)}
        if may(request.user, PERMISSION):
            found["items"] = Item(items, many=True).data
        if found["health"] in ("ok", "warning"):
            return Response(found)
        return _unhealthy("unhealthy", "Something is broken, or could not be asked.", **found)


class _Probe(View):
    """Asks nothing of whoever comes, not even who it is."""

    authentication_classes = ()
    permission_classes = (AllowAny,)
    throttle_classes = ()


class LiveView(_Probe):
    """Liveness."""

    @described("probe_liveness", answer=Alive, is_probe=True)
    def get(self, request: Request) -> Response:
        """Say that the process answers; nothing is looked at."""
        return Response({"health": "ok"})


class ReadyView(_Probe):
    """Readiness."""

    @described("probe_readiness", answer=Alive, errors=[503], is_probe=True)
    def get(self, request: Request) -> Response:
        """Say whether the settings hold and the database answers.

        A cost store must be one that can be built. Whether it answers is the same for all
        processes: without it calls under a budget are refused, and the rest goes on.
        """
        found = [each for each in needed.read().items if not _is_store_away(each)]
        if _worst(found) in ("ok", "warning"):
            return Response({"health": "ok"})
        return _unhealthy("not_ready", "It cannot answer now. Try again later.")


def _is_store_away(item: HealthItem) -> bool:
    return item.status == "unknown" and item.name.startswith("cost store ")


def _worst(items: Any) -> str:
    found = {each.status for each in items}
    return next((each for each in _STATES if each in found), "ok")


def _unhealthy(code: str, detail: str, **more: Any) -> Response:
    away = status.HTTP_503_SERVICE_UNAVAILABLE
    body = problems.problem(away, code, detail, **more)
    response = Response(body, status=away, content_type=problems.CONTENT_TYPE)
    response.exception = True
    return response
