"""Flights in this process's memory, and the reference for other backends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from django_obc_ai.backends.coordinators import _seen
from django_obc_ai.types.coordination import Boarding


@dataclass(slots=True)
class _Flight:
    """One that is under way."""

    leader: str
    lease_until: float
    is_takeover: bool = False
    text: str = ""


@dataclass(slots=True)
class _Landing:
    """The last answer; it stays while the next flight is under way, for who still waits for it."""

    answer: str
    landed_at: float
    keep_until: float
    is_reusable: bool


class MemoryFlights:
    """The flights of `BaseCoordinator` in dictionaries under a lock."""

    flight_lease_seconds: float
    clock: Callable[[], float] | None

    def __init__(self) -> None:
        """Start with nothing under way."""
        super().__init__()
        self._flights_lock = threading.Lock()
        self._flights: dict[str, _Flight] = {}
        self._landings: dict[str, _Landing] = {}
        self._sweep_at = 0.0

    def _flight_time(self) -> float:
        return self.clock() if self.clock is not None else time.time()

    def board(self, key: str, token: str, *, age_seconds: float, seen: int = 0) -> Boarding:
        """See `BaseCoordinator.board`."""
        with self._flights_lock:
            now, lease = self._flight_time(), self.flight_lease_seconds
            self._sweep(now)
            flight = self._flights.get(key)
            if flight is not None and now >= flight.lease_until + lease:
                flight = None
            if flight is not None and flight.leader == token:
                flight.lease_until = now + lease
                return Boarding(role="lead", is_takeover=flight.is_takeover, leader=token)
            landing = self._landings.get(key)
            if (
                landing is not None
                and now < landing.keep_until
                and (landing.is_reusable or now - landing.landed_at <= age_seconds)
            ):
                return Boarding(role="landed", answer=landing.answer)
            if flight is not None and now < flight.lease_until:
                return _following(flight, seen)
            if flight is not None and flight.is_takeover:
                return Boarding(role="lost", leader=flight.leader)
            is_takeover = flight is not None
            self._flights[key] = _Flight(token, now + lease, is_takeover)
            return Boarding(role="lead", is_takeover=is_takeover, leader=token)

    def publish(self, key: str, token: str, piece: str) -> None:
        """See `BaseCoordinator.publish`."""
        with self._flights_lock:
            if flight := self._led(key, token):
                flight.text += piece
                flight.lease_until = self._flight_time() + self.flight_lease_seconds

    def land(
        self, key: str, token: str, answer: str | None, *, keep_seconds: float, is_reusable: bool
    ) -> None:
        """See `BaseCoordinator.land`."""
        with self._flights_lock:
            if self._led(key, token) is None:
                return
            del self._flights[key]
            if answer is not None:
                now = self._flight_time()
                self._landings[key] = _Landing(answer, now, now + keep_seconds, is_reusable)

    def renew_flight(self, key: str, token: str) -> None:
        """See `BaseCoordinator.renew_flight`."""
        with self._flights_lock:
            if flight := self._led(key, token):
                flight.lease_until = self._flight_time() + self.flight_lease_seconds

    def _led(self, key: str, token: str) -> _Flight | None:
        """Return the flight if the token leads it, even if its lease ended unnoticed."""
        flight = self._flights.get(key)
        if flight is None or flight.leader != token:
            return None
        is_gone = self._flight_time() >= flight.lease_until + self.flight_lease_seconds
        return None if is_gone else flight

    def _sweep(self, now: float) -> None:
        """Forget what has ended, once in a lease."""
        if now < self._sweep_at:
            return
        self._sweep_at = now + self.flight_lease_seconds
        oldest = now - self.flight_lease_seconds
        self._flights = {k: each for k, each in self._flights.items() if each.lease_until > oldest}
        self._landings = {k: each for k, each in self._landings.items() if each.keep_until > now}


def _following(flight: _Flight, seen: int) -> Boarding:
    mark, known = _seen.mark_of(flight.leader), _seen.split(seen)
    offset = known[1] if known[0] == mark else 0
    return Boarding(
        role="follow",
        leader=flight.leader,
        text=flight.text[offset:],
        seen=_seen.join(mark, len(flight.text)),
    )
