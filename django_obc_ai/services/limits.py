"""How much of their limits providers have used, and whether they are open, at this moment."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from django_obc_ai.backends.coordinators import coordinators
from django_obc_ai.backends.providers import providers
from django_obc_ai.exceptions import ConfigurationError, CoordinatorError
from django_obc_ai.gateway import ratelimit
from django_obc_ai.types.coordination import GateState, Limits

#: Reasons for which a provider is asked by nobody, and what happened.
CLOSING: dict[str, str] = {
    "throttled": "it answered that too much is asked of it",
    "quota": "its daily quota is used up",
    "breaker": "it failed several times in a row",
}
#: After so long nobody else is asked about; a page waits for this.
_PATIENCE_SECONDS = 2.0
_clock = time.monotonic


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """One limit and what counts towards it.

    Attributes:
        name: "requests", "tokens" or "day".
        words: What is counted, for people.
        used: So much.
        limit: The most.
    """

    name: str
    words: str
    used: int
    limit: int

    @property
    def percent(self) -> float:
        """Return what is used, in percent of the limit."""
        return 100.0 * self.used / self.limit


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitState:
    """A provider's limits, and how it stands with them.

    Attributes:
        alias: Of the provider in ``OBC_AI["PROVIDERS"]``.
        limits: In force now.
        state: What the coordinator knows; None if it could not be asked.
        is_free: Whether the provider costs nothing.
    """

    alias: str
    limits: Limits
    state: GateState | None
    is_free: bool

    @property
    def is_closed(self) -> bool:
        """Return whether nobody asks the provider."""
        return self.state is not None and self.state.reason in CLOSING

    @property
    def until(self) -> datetime.datetime | None:
        """Return when a closed provider reopens, aware UTC, where that is known."""
        if self.state is None or self.state.until is None:
            return None
        return datetime.datetime.fromtimestamp(self.state.until, datetime.UTC)

    @property
    def resets_at(self) -> datetime.datetime | None:
        """Return when the provider's present day ends, aware UTC; None without a limit by day."""
        if self.limits.per_day is None:
            return None
        return datetime.datetime.fromtimestamp(self.limits.day_ends_at, datetime.UTC)

    def known_state(self) -> GateState:
        """Return the state.

        Raises:
            CoordinatorError: It is not known.
        """
        if self.state is None:
            raise CoordinatorError("The coordinator cannot be asked for its gates.")
        return self.state

    def meters(self) -> list[Meter]:
        """Return the limits that are set; none if the state is not known."""
        return [] if self.state is None else list(self._meters(self.state))

    def _meters(self, state: GateState) -> Iterator[Meter]:
        limits, seconds = self.limits, self.limits.window_seconds
        window = "in a minute" if seconds == 60 else f"in {seconds:g} seconds"
        for name, words, used, limit in (
            ("requests", f"requests {window}", state.requests, limits.requests),
            ("tokens", f"tokens {window}", state.tokens, limits.tokens),
            ("day", "requests today", state.today, limits.per_day),
        ):
            if limit is not None:
                yield Meter(name=name, words=words, used=used, limit=limit)

    @property
    def day(self) -> Meter | None:
        """Return the limit by day."""
        return next((each for each in self.meters() if each.name == "day"), None)


def limits_now() -> list[LimitState]:
    """Return the providers that stand behind a gate, in the order of the settings.

    Those that are free and without limits are left out, and so are broken ones, of which the
    health check tells. A coordinator that fails, or takes long, is asked no further.
    """
    found = []
    deadline = _clock() + _PATIENCE_SECONDS
    for alias in filter(has_limits, providers):
        try:
            state = read_limits(alias) if _clock() < deadline else _limited(alias)
        except (CoordinatorError, ConfigurationError):
            deadline, state = 0.0, _limited(alias)
        found.append(state)
    return found


def has_limits(alias: str) -> bool:
    """Return whether a provider stands behind a gate; False for one that cannot be built."""
    try:
        found = _limited(alias)
    except ConfigurationError:
        return False
    limits = found.limits
    counts = (limits.requests, limits.tokens, limits.per_day)
    breaks = limits.failures is not None and not found.is_free
    return breaks or any(each is not None for each in counts)


def read_limits(alias: str) -> LimitState:
    """Return how it stands with one provider.

    Raises:
        ConfigurationError: It, or the coordinator, cannot be built.
        CoordinatorError: The coordinator cannot be asked.
    """
    found = _limited(alias)
    return replace(found, state=coordinators["default"].gate_state(alias, found.limits))


def reopen_provider(alias: str) -> None:
    """Let a closed provider be asked again, by few calls at first; its counts stay.

    Raises:
        ConfigurationError: The coordinator cannot be built.
        CoordinatorError: It cannot be asked.
    """
    coordinators["default"].reopen(alias)


def _limited(alias: str) -> LimitState:
    limits, is_free = ratelimit.limits_of(alias), providers[alias].is_free
    return LimitState(alias=alias, limits=limits, state=None, is_free=is_free)
