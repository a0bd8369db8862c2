"""The contract of a coordinator, through which the workers of a project act as one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from django_obc_ai.backends.base import BaseBackend
from django_obc_ai.backends.redis_link import Step
from django_obc_ai.types.coordination import Admission, Boarding, GateState, Limits, Verdict


class BaseCoordinator(BaseBackend, ABC):
    """Flights, so that equal calls become one; gates, so that all workers share one limit.

    A *flight* is one paid call and all who wait for its answer. Its key is a hash of everything
    that shapes the answer; a token names one call. A *gate* stands before one provider alias: it
    counts requests and tokens in a sliding window and requests in the provider's own day, lets
    calls through in the order in which they came, and closes: after a 429, for the rest of the
    day after a daily quota's 429, and as a circuit breaker after failures in a row. A closed gate
    reopens gently: one attempt at a time, with each success twice as many.

    Every method is safe under threads and processes, and raises `CoordinatorError` if the shared
    state cannot be reached.
    """

    #: Do all processes of the project see the same state?
    is_shared: ClassVar[bool] = True
    #: How long a leader that says nothing more is waited for.
    flight_lease_seconds: float = 15.0
    #: Seconds since 1970, for tests; None is the store's own clock.
    clock: Callable[[], float] | None = None

    @property
    def server(self) -> str:
        """Name the Redis server, by its URL, to which one trip can bring others' scripts, too."""
        return ""

    def can_share_now(self) -> bool:
        """Return whether anything can be shared from where the caller is, such as a transaction.

        Where it is False, methods that change something raise `CoordinatorError`, and the gateway
        does not call them.
        """
        return True

    @abstractmethod
    def board(self, key: str, token: str, *, age_seconds: float, seen: int = 0) -> Boarding:
        """Lead a flight, or follow the one that is under way; followers ask again and again.

        - None is under way: lead.
        - One landed, and it landed within ``age_seconds``, or the caller has followed its leader
          (which ``seen`` says): take the answer. It is no cache: who begins later leads.
        - A leader lives: follow. Its lease has ended: lead in its place (``is_takeover``), once
          for a flight; after that "lost", for as long as a lease.

        Args:
            key: What is asked.
            token: Names this call; a leader that asks again still leads.
            age_seconds: How long ago the call began: what landed since was under way with it.
            seen: What the last `Boarding` said; 0 at first.
        """

    @abstractmethod
    def publish(self, key: str, token: str, piece: str) -> None:
        """Add a piece of text for followers, and begin the leader's lease anew.

        Does nothing for a token that does not lead.
        """

    @abstractmethod
    def land(self, key: str, token: str, answer: str | None, *, keep_seconds: float) -> None:
        """Leave the answer to the followers; does nothing for a token that does not lead.

        Args:
            key: See `board`.
            token: See `board`.
            answer: None gives up: the next who asks leads, as if nothing had been.
            keep_seconds: How long the answer stays.
        """

    @abstractmethod
    def renew_flight(self, key: str, token: str) -> None:
        """Begin the leader's lease anew; does nothing for a token that does not lead."""

    @abstractmethod
    def acquire(
        self, gate: str, permit: str, *, tokens: int, limits: Limits, patience_seconds: float
    ) -> Admission:
        """Ask for one attempt's permit.

        In any window, at any moment, no more permits count than ``limits.requests``: one counts
        from when it is given until ``window_seconds`` after `release`, because until then nobody
        knows when the provider saw it; no later, however, than 5 seconds plus a window after it
        was given. So it is with tokens, first by what was asked for and then by what was used. A
        day's count holds a request that is under way at midnight in both days.

        Who is refused with a patience that covers ``wait_seconds`` stands in a queue and is to
        ask again with the same permit; nobody overtakes: for each one ahead as much is kept free
        as it takes, and only what is left goes to those behind. Who does not ask within two
        seconds after the time that it was told loses its place. Who is refused for "breaker",
        "quota" or "day" is not queued: such a call is given up, however patient. So is one with
        more tokens than the limit, which never fit: refused for "tokens" with 0 to wait.

        Args:
            gate: The provider's alias.
            permit: Chosen by the caller; a repeated id changes nothing.
            tokens: The most that the attempt can take.
            limits: In force now.
            patience_seconds: How long the caller would wait; 0 never queues.
        """

    @abstractmethod
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
        """Say how an attempt ended, or leave the queue; a second release changes nothing.

        - "unsent" takes the permit out of all counts.
        - "ended" says nothing of the provider: the caller left.
        - "ok" ends a series of failures, and a reopening gate lets twice as many through.
        - "failed" counts towards the breaker; in a reopening gate it closes it again at once, for
          twice as long each time, up to eight times.
        - "throttled" closes the gate for ``closed_seconds``, or, if the provider did not say, for
          1 second, twice as long each time, up to 60.
        - "quota" closes it until ``limits.day_ends_at``, or if that is not known for
          ``closed_seconds``, else for a minute.

        What was let through before the gate last closed says nothing new, so many that fail at
        once close it once. The end of a permit that is not known, because it was forgotten or
        the state was out of reach when it was asked for, is heard all the same.

        Args:
            gate: See `acquire`.
            permit: See `acquire`.
            verdict: See above.
            limits: In force now.
            tokens: That the attempt used.
            closed_seconds: What the provider asked for.

        Returns:
            The new state if the gate closed or fully reopened by this, else None.
        """

    def acquire_step(
        self, gate: str, permit: str, *, tokens: int, limits: Limits, patience_seconds: float
    ) -> Step[Admission] | None:
        """Return `acquire` as a step that can travel with others; None: this one has none."""
        return None

    def release_step(
        self,
        gate: str,
        permit: str,
        *,
        verdict: Verdict,
        limits: Limits,
        tokens: int = 0,
        closed_seconds: float | None = None,
    ) -> Step[GateState | None] | None:
        """Return `release` as a step that can travel with others; None: this one has none."""
        return None

    def land_step(
        self, key: str, token: str, answer: str | None, *, keep_seconds: float
    ) -> Step[None] | None:
        """Return `land` as a step that can travel with others; None: this one has none."""
        return None

    def permit_mark(self, gate: str, permit: str) -> tuple[bytes, bytes] | None:
        """Return the hash and the field in Redis that hold a given permit, or None."""
        return None

    @abstractmethod
    def gate_state(self, gate: str, limits: Limits) -> GateState:
        """Return what counts now; it changes nothing."""

    @abstractmethod
    def reopen(self, gate: str) -> None:
        """Open a closed gate now, gently; its counts stay."""
