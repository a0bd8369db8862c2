"""Permits: no attempt is made that a provider's limits do not allow, whoever else asks.

All workers share the counts in the coordinator. While it cannot be reached, each process keeps
the limits by itself, as if it were alone; that is logged. So it is with calls in a transaction
from which nothing can be shared. Money is not at stake here: budgets
are, in the cost store, and that one refuses.
"""

from __future__ import annotations

import datetime
import math
import time
import zoneinfo
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from django_obc_ai.backends.coordinators import BaseCoordinator, coordinators
from django_obc_ai.backends.coordinators.memory import MemoryCoordinator
from django_obc_ai.backends.providers import providers
from django_obc_ai.backends.redis_link import Step
from django_obc_ai.conf import AISettings, get_settings
from django_obc_ai.exceptions import (
    ConfigurationError,
    CoordinatorError,
    JobDeadlineError,
    ObcAIError,
    QuotaExhaustedError,
    RateLimitedError,
    RateLimitError,
    StreamInterruptedError,
    TransientError,
)
from django_obc_ai.gateway.limit_refusals import moment_of, refusal_of
from django_obc_ai.gateway.telling import tell
from django_obc_ai.logs import events
from django_obc_ai.signals import provider_closed, provider_reopened
from django_obc_ai.types.coordination import UNQUEUED, Admission, GateState, Limits, Verdict
from django_obc_ai.types.ids import new_id
from django_obc_ai.types.settings import BreakerSettings, RateLimitSettings

#: The minute of limits by the minute.
WINDOW_SECONDS = 60.0
#: How long a coordinator that failed is left alone.
_AWAY_SECONDS = 1.0
_away: dict[str, float] = {}
_longest_wait: ContextVar[float] = ContextVar("obc_ai_longest_wait", default=math.inf)
_alone = MemoryCoordinator()
_UNLIMITED = RateLimitSettings(per_minute=None, tokens_per_minute=None, per_day=None)
_days: dict[str, tuple[str, float, float]] = {}
#: By alias: the settings and the day that limits were made of, and they.
_limits: dict[str, tuple[AISettings, tuple[str, float, float], Limits]] = {}


@contextmanager
def waiting_at_most(seconds: float) -> Iterator[None]:
    """Let calls that are made inside wait so long for a permit, whatever the settings allow."""
    token = _longest_wait.set(seconds)
    try:
        yield
    finally:
        _longest_wait.reset(token)


def day_of(zone: str, at: float) -> tuple[str, float, float]:
    """Return a time zone's day at a time: its name, and its first instant and the next one's.

    Times are seconds since 1970; days with a change of clocks are 23 or 25 hours long.
    """
    tz = zoneinfo.ZoneInfo(zone)
    day = datetime.datetime.fromtimestamp(at, tz).date()
    after = day + datetime.timedelta(days=1)
    start, end = (
        datetime.datetime.combine(each, datetime.time(), tzinfo=tz).timestamp()
        for each in (day, after)
    )
    return day.isoformat(), start, end


def limits_of(alias: str) -> Limits:
    """Return what is in force for a provider's alias now."""
    settings = get_settings()
    rates = _rates_of(alias)
    now = time.time()
    day = _days.get(rates.day_starts)
    if day is None or not day[1] <= now < day[2]:
        day = _days[rates.day_starts] = day_of(rates.day_starts, now)
    known = _limits.get(alias)
    if known is None or known[0] is not settings or known[1] is not day:
        known = _limits[alias] = (settings, day, _limits_on(day, rates, settings.breaker))
    return known[2]


def _limits_on(
    day: tuple[str, float, float], rates: RateLimitSettings, breaker: BreakerSettings
) -> Limits:
    return Limits(
        requests=rates.per_minute,
        tokens=rates.tokens_per_minute,
        window_seconds=WINDOW_SECONDS,
        per_day=rates.per_day,
        day=day[0],
        day_starts_at=day[1],
        day_ends_at=day[2],
        failures=breaker.failures,
        open_seconds=breaker.open_seconds,
    )


def _rates_of(alias: str) -> RateLimitSettings:
    found = get_settings().rate_limits.get(alias)
    if found is not None:
        return found
    return _UNLIMITED if providers[alias].is_free else RateLimitSettings()


@dataclass(slots=True)
class Permit:
    """One attempt's place behind a provider's gate.

    Attributes:
        alias: Of the provider.
        limits: What was in force when it was asked for.
        name: Of the permit.
        giver: Who was asked last.
        is_given: Whether the attempt may be made.
        is_queued: Whether it waits for its turn.
    """

    alias: str
    limits: Limits
    name: str
    giver: BaseCoordinator
    is_given: bool = False
    is_queued: bool = False

    def ask(self, *, tokens: int, patience_seconds: float) -> float:
        """Ask for the permit, again and again until it is given.

        Args:
            tokens: The most that the attempt can take.
            patience_seconds: How long the call would wait.

        Returns:
            0 if it is given, else the seconds after which to ask again.

        Raises:
            RateLimitedError: It will not be given in time.
        """
        asked = self._asked(tokens, patience_seconds)
        for coordinator in (_reachable(), _alone):
            self.giver = coordinator
            try:
                return self._hear(coordinator.acquire(self.alias, self.name, **asked), asked)
            except CoordinatorError as error:
                note_away(error)
        raise AssertionError("the coordinator in memory does not fail")

    def ask_step(
        self, server: str, *, tokens: int, patience_seconds: float
    ) -> tuple[Step[None], tuple[bytes, bytes]] | None:
        """Return `ask` as a step for a trip to a server, and the permit's mark there.

        Reading its reply raises what `ask` raises, and `MustWait` where it says to wait. None:
        the permit is not to be asked for there.
        """
        if self.is_given or self.giver.server != server:
            return None
        asked = self._asked(tokens, patience_seconds)
        self.is_queued = True  # for all that is known, should the reply be lost
        step = self.giver.acquire_step(self.alias, self.name, **asked)
        mark = self.giver.permit_mark(self.alias, self.name)
        if step is None or mark is None:
            return None
        read = step.read

        def hear(reply: Any) -> None:
            if wait := self._hear(read(reply), asked):
                raise MustWait(wait)

        return Step(step.call, hear), mark

    def _asked(self, tokens: int, patience_seconds: float) -> dict[str, Any]:
        patience_seconds = _allowed_wait(self.alias, patience_seconds)
        return {"tokens": tokens, "limits": self.limits, "patience_seconds": patience_seconds}

    def _hear(self, answer: Admission, asked: Mapping[str, Any]) -> float:
        if not answer.reason:
            self.is_given, self.is_queued = True, False
            return 0.0
        if answer.reason in UNQUEUED or not 0 < answer.wait_seconds <= asked["patience_seconds"]:
            self.end("unsent")
            raise refusal_of(self.alias, answer, self.limits, asked["tokens"])
        self.is_queued = True
        wait = round(answer.wait_seconds * 1000)
        events.TRAFFIC_WAITED.log(alias=self.alias, reason=answer.reason, wait_ms=wait)
        return answer.wait_seconds

    def end(
        self, verdict: Verdict, *, tokens: int = 0, closed_seconds: float | None = None
    ) -> None:
        """Say how the attempt ended, or that it will not be made; a second time does nothing."""
        if not (self.is_given or self.is_queued):
            return
        told = self._told(verdict, tokens, closed_seconds)
        self.is_given = self.is_queued = False
        for coordinator in (self.giver, _alone):
            try:
                _announce(self.alias, coordinator.release(self.alias, self.name, **told))
                return
            except CoordinatorError as error:
                note_away(error)

    def end_step(self, server: str, *, tokens: int) -> Step[None] | None:
        """Return that the attempt has ended well as a step for a trip to a server, or None."""
        if not self.is_given or self.giver.server != server:
            return None
        told = self._told("ok", tokens, None)
        step = self.giver.release_step(self.alias, self.name, **told)
        if step is None:
            return None
        read = step.read

        def hear(reply: Any) -> None:
            self.is_given = False
            _announce(self.alias, read(reply))

        return Step(step.call, hear)

    def _told(self, verdict: Verdict, tokens: int, closed: float | None) -> dict[str, Any]:
        facts = {"verdict": verdict, "tokens": tokens, "closed_seconds": closed}
        return {**facts, "limits": self.limits}


class MustWait(Exception):
    """A permit is not given yet, and nothing was held with it."""

    def __init__(self, seconds: float) -> None:
        """Keep the seconds after which to ask again."""
        super().__init__(seconds)
        self.seconds = seconds


def verdict_of(error: BaseException) -> tuple[Verdict, float | None]:
    """Return what a failed attempt says of its provider, and for how long it asked to be left."""
    if isinstance(error, QuotaExhaustedError):
        return "quota", None  # it says when to try again as of a minute's limit
    if isinstance(error, RateLimitError):
        return "throttled", error.retry_after_seconds
    if isinstance(error, ConfigurationError):
        return "unsent", None
    if isinstance(error, TransientError):
        return "failed", None
    if isinstance(error, (StreamInterruptedError, JobDeadlineError)):
        return "ended", None  # by the caller
    if isinstance(error, ObcAIError):
        return "ok", None  # the provider is well, and did not like the request
    return "ended", None


def _allowed_wait(alias: str, seconds: float) -> float:
    """Return how much of the time that a call has it may wait for an alias."""
    if _rates_of(alias).when_exceeded != "wait":
        return 0.0
    return min(seconds, _longest_wait.get())


def has_room_soon(error: ObcAIError, seconds: float) -> bool:
    """Return whether a limit has refused what a call that has so much time could wait for."""
    if not isinstance(error, RateLimitedError) or error.reason in UNQUEUED:
        return False
    return 0 < (error.retry_after_seconds or 0.0) <= _allowed_wait(error.alias, seconds)


def permit_for(alias: str) -> Permit | None:
    """Return a permit to ask for; None for a free provider that nobody has set limits for."""
    if providers[alias].is_free and alias not in get_settings().rate_limits:
        return None
    return Permit(alias, limits_of(alias), new_id().hex, _reachable())


def shared() -> BaseCoordinator | None:
    """Return the coordinator; None while it was found to be away a moment ago."""
    since = _away.get("default")
    if since is not None and time.monotonic() - since < _AWAY_SECONDS:
        return None
    return coordinators["default"]


def _reachable() -> BaseCoordinator:
    """Return who counts for a call that is made from here: the coordinator, or this process."""
    coordinator = shared()
    return coordinator if coordinator is not None and coordinator.can_share_now() else _alone


def note_away(error: CoordinatorError) -> None:
    """Leave the coordinator alone for a moment, so that not every call waits for it in vain."""
    if not error.retryable:  # it is the matter of this call, whose transaction is in the way
        return
    _away["default"] = time.monotonic()
    events.TRAFFIC_LIMITS_LOCAL.log(error=error)


def _announce(alias: str, state: GateState | None) -> None:
    if state is None:
        return
    if state.reason:
        until = None if state.until is None else moment_of(state.until)
        events.PROVIDER_CLOSED.log(about=alias, alias=alias, reason=state.reason, until=until)
        tell(provider_closed, alias=alias, reason=state.reason, until=until)
    else:
        events.PROVIDER_REOPENED.log(about=alias, alias=alias)
        tell(provider_reopened, alias=alias)
