"""Gates in this process's memory."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable

from django_obc_ai.backends.coordinators._gate_rules import (
    Gate,
    GateData,
    reopen,
)
from django_obc_ai.types.coordination import Admission, GateState, Limits, Verdict


class MemoryGates:
    """The gates of `BaseCoordinator` in a dictionary under a lock."""

    clock: Callable[[], float] | None

    def __init__(self) -> None:
        """Start with open gates."""
        super().__init__()
        self._gates_lock = threading.Lock()
        self._gates: defaultdict[str, GateData] = defaultdict(GateData)

    def _gate_time(self) -> float:
        return time.time() if self.clock is None else self.clock()

    def acquire(
        self, gate: str, permit: str, *, tokens: int, limits: Limits, patience_seconds: float
    ) -> Admission:
        """See `BaseCoordinator.acquire`."""
        with self._gates_lock:
            found = Gate(self._gates[gate], limits, self._gate_time())
            return found.acquire(permit, tokens=tokens, patience_seconds=patience_seconds)

    def release(
        self,
        gate: str,
        permit: str,
        *,
        verdict: Verdict,
        limits: Limits,
        tokens: int = 0,
        closed_seconds: float | None = None,
    ) -> GateState | None:
        """See `BaseCoordinator.release`."""
        with self._gates_lock:
            found = Gate(self._gates[gate], limits, self._gate_time())
            return found.release(
                permit, verdict=verdict, tokens=tokens, closed_seconds=closed_seconds
            )

    def gate_state(self, gate: str, limits: Limits) -> GateState:
        """See `BaseCoordinator.gate_state`."""
        with self._gates_lock:
            return Gate(self._gates[gate], limits, self._gate_time()).state()

    def reopen(self, gate: str) -> None:
        """See `BaseCoordinator.reopen`."""
        with self._gates_lock:
            reopen(self._gates[gate], self._gate_time())
