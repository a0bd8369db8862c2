"""Gates in Redis, asked and told in one step each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from django_obc_ai.backends.coordinators import _redis_gate_scripts as scripts
from django_obc_ai.backends.coordinators._gate_rules import asked_ms, ended_ms, terms_of
from django_obc_ai.backends.redis_link import ScriptCall, Step
from django_obc_ai.types.coordination import Admission, GateState, Limits, Verdict

_GIVEN = Admission()
_ANY = Limits()


class RedisGates:
    """The gates of `BaseCoordinator` by the clock of the server.

    All arguments are bytes, because redis-py is slow to turn anything else into them.
    """

    clock: Callable[[], float] | None
    _prefix: str
    run_all: Callable[[Sequence[ScriptCall]], list[Any]]

    def acquire(
        self, gate: str, permit: str, *, tokens: int, limits: Limits, patience_seconds: float
    ) -> Admission:
        """See `BaseCoordinator.acquire`."""
        step = self.acquire_step(
            gate, permit, tokens=tokens, limits=limits, patience_seconds=patience_seconds
        )
        return step.read(self._run_call(step.call))

    def acquire_step(
        self, gate: str, permit: str, *, tokens: int, limits: Limits, patience_seconds: float
    ) -> Step[Admission]:
        """See `BaseCoordinator.acquire_step`."""
        asked = (permit.encode(), b"%d" % tokens, b"%d" % asked_ms(patience_seconds))
        return Step((scripts.ACQUIRE, *self._head(gate, limits), *asked), _read_acquire)

    def permit_mark(self, gate: str, permit: str) -> tuple[bytes, bytes]:
        """See `BaseCoordinator.permit_mark`."""
        return _keys(self._prefix, gate)[0], b"p:" + permit.encode()

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
        step = self.release_step(
            gate,
            permit,
            verdict=verdict,
            limits=limits,
            tokens=tokens,
            closed_seconds=closed_seconds,
        )
        return step.read(self._run_call(step.call))

    def release_step(
        self,
        gate: str,
        permit: str,
        *,
        verdict: Verdict,
        limits: Limits,
        tokens: int = 0,
        closed_seconds: float | None = None,
    ) -> Step[GateState | None]:
        """See `BaseCoordinator.release_step`."""
        closed = ended_ms(closed_seconds) if closed_seconds else 0
        told = (permit.encode(), verdict.encode(), b"%d" % tokens, b"%d" % closed)
        return Step((scripts.RELEASE, *self._head(gate, limits), *told), _read_release)

    def gate_state(self, gate: str, limits: Limits) -> GateState:
        """See `BaseCoordinator.gate_state`."""
        return _state(self._run_call((scripts.STATE, *self._head(gate, limits))))

    def reopen(self, gate: str) -> None:
        """See `BaseCoordinator.reopen`."""
        self._run_call((scripts.REOPEN, *self._head(gate, _ANY)))

    def _head(self, gate: str, limits: Limits) -> tuple[Any, ...]:
        """Return what all scripts begin with: keys, the moment, the limits."""
        if self.clock is None:
            return (b"4", *_keys(self._prefix, gate), b"", b"", *_terms(limits))
        now = self.clock()
        moment = (b"%d" % asked_ms(now), b"%d" % ended_ms(now))
        return (b"4", *_keys(self._prefix, gate), *moment, *_terms(limits))

    def _run_call(self, call: ScriptCall) -> Any:
        return self.run_all([call])[0]


@lru_cache(maxsize=256)
def _keys(prefix: str, gate: str) -> tuple[bytes, ...]:
    name = f"{{{prefix}}}:gate:{gate}"
    return tuple(f"{name}{part}".encode() for part in ("", ":counted", ":queue", ":late"))


@lru_cache(maxsize=256)
def _terms(limits: Limits) -> tuple[bytes, ...]:
    return tuple(b"%d" % each for each in terms_of(limits))


def _read_acquire(reply: Any) -> Admission:
    if not reply:
        return _GIVEN
    reason, wait, until = reply
    return Admission(
        reason=reason.decode(),
        wait_seconds=wait / 1000,
        until=until / 1000 if until else None,
    )


def _read_release(reply: Any) -> GateState | None:
    return _state(reply) if reply else None


def _state(reply: Sequence[Any]) -> GateState:
    requests, tokens, today, in_flight, waiting, failures, reason, until = reply
    return GateState(
        requests=requests,
        tokens=tokens,
        today=today,
        in_flight=in_flight,
        waiting=waiting,
        failures=failures,
        reason=reason.decode(),
        until=until / 1000 if until else None,
    )
