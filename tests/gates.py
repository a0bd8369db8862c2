"""A coordinator whose gates stand as a test says, for all that shows how they stand."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar
from unittest import mock

from django_obc_ai.backends.coordinators import coordinators
from django_obc_ai.backends.coordinators.memory import MemoryCoordinator
from django_obc_ai.exceptions import CoordinatorError
from django_obc_ai.gateway import ratelimit
from django_obc_ai.testing import override_ai
from django_obc_ai.types.coordination import GateState, Limits
from tests.fakes import entry

OFFLINE = "django_obc_ai.backends.providers.offline.OfflineProvider"


class ScriptedCoordinator(MemoryCoordinator):
    """Says of its gates what it was told, and notes which it was asked for and is to reopen."""

    is_shared: ClassVar[bool] = True

    def __init__(self, states: dict[str, GateState], is_away: bool = False) -> None:
        super().__init__()
        self.states, self.is_away = states, is_away
        self.asked: list[str] = []
        self.reopened: list[str] = []

    def gate_state(self, gate: str, limits: Limits) -> GateState:
        self.asked.append(gate)
        self._answer()
        return self.states.get(gate, GateState())

    def reopen(self, gate: str) -> None:
        self._answer()
        self.reopened.append(gate)

    def _answer(self) -> None:
        if self.is_away:
            raise CoordinatorError("Redis is away.")


@contextmanager
def gates(
    states: dict[str, GateState],
    script: Sequence[Any] | None = None,
    *,
    is_away: bool = False,
    **settings: Any,
) -> Iterator[ScriptedCoordinator]:
    """Let the providers of ``states`` have limits, and stand so; others have none.

    With a script, "default" answers by it. Their day began an hour ago and ends in an hour.
    """
    now = time.time()
    limited = Limits(
        requests=60,
        tokens=100_000,
        per_day=1_500,
        day_starts_at=now - 3_600,
        day_ends_at=now + 3_600,
        failures=5,
    )
    if script is None:
        names = ("default", *states)
        settings.setdefault("PROVIDERS", {name: {"BACKEND": OFFLINE} for name in names})
    coordinator = entry(ScriptedCoordinator, states=states, is_away=is_away)
    with (
        mock.patch.object(
            ratelimit, "limits_of", lambda alias: limited if alias in states else Limits()
        ),
        override_ai(script, COORDINATORS=coordinator, **settings),
    ):
        found = coordinators["default"]
        assert isinstance(found, ScriptedCoordinator)
        yield found
