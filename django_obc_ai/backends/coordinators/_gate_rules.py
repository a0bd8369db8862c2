"""What a gate does, in plain Python on a state that JSON can hold.

Memory and database run these rules; the scripts of Redis are the same in Lua, and a test compares
them step by step. All times are whole milliseconds: a moment in which something is asked is
rounded down and one in which something ends is rounded up, so that no window is cut short.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from django_obc_ai.types.coordination import (
    UNQUEUED,
    Admission,
    GateState,
    Limits,
    Reason,
    Verdict,
)

#: After so long a request that was let through has reached its provider, or never will.
ARRIVAL_MS = 5_000
#: So long a waiter keeps its place after the time that it was told.
GRACE_MS = 2_000
#: Attempts at once at which a gate that reopens counts as open.
FULLY_OPEN = 64
#: What stands for no limit; Lua's numbers are exact up to here.
NO_LIMIT = 9 * 10**15


@dataclass(slots=True, kw_only=True)
class GateData:
    """A gate between two calls.

    Attributes:
        permits: What counts, by id: until when, tokens and, only while it is under way, the
            epoch and the moment in which it was given.
        waiters: In their order: when they lose their place, and their tokens.
        others: Ids whose end was told although they do not count, and until when to know them.
        day: When the day began that `today` counts.
        today: Requests of that day.
        epoch: How often the gate has closed; who was let through before tells nothing new.
        closings: Since it was fully open.
        closed: Until when.
        level: How many are let through at once while it reopens; 0 if it is open.
        why: It has closed.
        failures: Since the last success.
    """

    permits: dict[str, list[int]] = field(default_factory=dict)
    waiters: dict[str, list[int]] = field(default_factory=dict)
    others: dict[str, int] = field(default_factory=dict)
    day: int = 0
    today: int = 0
    epoch: int = 0
    closings: int = 0
    closed: int = 0
    level: int = 0
    why: Reason = ""
    failures: int = 0


class Terms(NamedTuple):
    """`Limits` in whole numbers and milliseconds."""

    requests: int
    tokens: int
    window: int
    per_day: int
    day_starts: int
    day_ends: int
    failures: int
    open: int


@lru_cache(maxsize=256)
def terms_of(limits: Limits) -> Terms:
    """Return limits in whole numbers and milliseconds, `NO_LIMIT` for None."""

    def most(limit: int | None) -> int:
        return NO_LIMIT if limit is None else limit

    return Terms(
        requests=most(limits.requests),
        tokens=most(limits.tokens),
        window=ended_ms(limits.window_seconds),
        per_day=most(limits.per_day),
        day_starts=ended_ms(limits.day_starts_at),
        day_ends=ended_ms(limits.day_ends_at),
        failures=most(limits.failures),
        open=ended_ms(limits.open_seconds),
    )


def asked_ms(seconds: float) -> int:
    """Round down, but for what floating point adds."""
    return math.floor(min(seconds, 1e10) * 1000 + 0.001)


def ended_ms(seconds: float) -> int:
    """Round up, but for what floating point adds."""
    return math.ceil(min(seconds, 1e10) * 1000 - 0.001)


class Gate:
    """A gate at one moment, under the limits of who asks; changes the data it was given."""

    def __init__(self, data: GateData, limits: Limits, seconds: float) -> None:
        """Bring the data up to the moment.

        Args:
            data: Is changed in place.
            limits: In force now.
            seconds: The moment, since 1970.
        """
        self._data, self._terms = data, terms_of(limits)
        self._now, self._ended = asked_ms(seconds), ended_ms(seconds)
        self._permits, self._waiters = data.permits, data.waiters
        self._begin_day()
        self._forget(self._now)

    def _begin_day(self) -> None:
        """Begin a day by the store's clock, whatever an asker's clock says, and never go back."""
        starts = self._terms.day_starts
        if 0 < self._terms.day_ends <= self._now:
            starts = self._terms.day_ends
        if self._data.day < starts <= self._now:
            self._forget(starts)
            self._data.day, self._data.today = starts, len(self._under_way())

    def _forget(self, moment: int) -> None:
        permits, waiters, others = self._permits, self._waiters, self._data.others
        for key in [key for key, each in permits.items() if each[0] <= moment]:
            del permits[key]
        for key in [key for key, each in waiters.items() if each[0] < moment]:
            del waiters[key]
        for key in [key for key, until in others.items() if until < moment]:
            del others[key]

    def _under_way(self, epoch: int | None = None) -> list[list[int]]:
        every = [each for each in self._permits.values() if len(each) > 2]
        return every if epoch is None else [each for each in every if each[2] == epoch]

    def state(self) -> GateState:
        """Return what counts."""
        data = self._data
        is_closed = data.closed > self._now
        reason: Reason = data.why if is_closed else "reopening" if data.level else ""
        return GateState(
            requests=len(self._permits),
            tokens=self._tokens(),
            today=data.today,
            in_flight=len(self._under_way()),
            waiting=len(self._waiters),
            failures=data.failures,
            reason=reason,
            until=data.closed / 1000 if is_closed else None,
        )

    def _tokens(self) -> int:
        return sum(each[1] for each in self._permits.values())

    def acquire(self, permit: str, *, tokens: int, patience_seconds: float) -> Admission:
        """See `BaseCoordinator.acquire`."""
        if permit in self._permits:
            return Admission()
        if tokens > self._terms.tokens:
            self._waiters.pop(permit, None)
            return Admission(reason="tokens")
        place = len(self._waiters)
        if permit in self._waiters:
            place = list(self._waiters).index(permit)
        reason, at, until = self._obstacle(tokens, place)
        if not reason:
            self._let_through(permit, tokens)
        elif reason not in UNQUEUED and at - self._now <= asked_ms(patience_seconds):
            self._data.others.pop(permit, None)
            self._waiters[permit] = [at + GRACE_MS, tokens]
        else:
            self._waiters.pop(permit, None)
        return Admission(
            reason=reason,
            wait_seconds=(at - self._now) / 1000,
            until=until / 1000 if until else None,
        )

    def _let_through(self, permit: str, tokens: int) -> None:
        self._waiters.pop(permit, None)
        self._data.others.pop(permit, None)
        until = self._now + ARRIVAL_MS + self._terms.window
        self._permits[permit] = [until, tokens, self._data.epoch, self._now]
        self._data.today += 1

    def _obstacle(self, tokens: int, place: int) -> tuple[Reason, int, int]:
        """Return why not, when to ask again, and until when the provider is closed.

        For each one ahead as much is kept free as it takes, so nobody is overtaken, and who is
        late keeps nobody waiting for whom there is room as well.
        """
        data, terms, now = self._data, self._terms, self._now
        soon = now + _pause(place)
        if data.closed > now:
            at = data.closed + _pause(place) - _pause(0)
            return data.why, at, data.closed
        count, probes = len(self._permits), len(self._under_way(data.epoch))
        ahead = [each[1] for each in self._waiters.values()][:place]
        lacking = self._tokens() + tokens - terms.tokens
        found: list[tuple[int, bool, Reason]] = []  # when, whether without the queue too, why
        if data.today + place >= terms.per_day:
            ends = terms.day_ends if terms.day_ends > now else now + 1_000
            found.append((ends, data.today >= terms.per_day, "day"))
        if count + place >= terms.requests:
            found.append((self._free_at(place), count >= terms.requests, "requests"))
        if lacking + sum(ahead) > 0:
            at = self._tokens_free_at(lacking + sum(ahead))
            at = min(at, soon) if self._under_way() else at
            found.append((at, lacking > 0, "tokens"))
        if data.level and probes + place >= data.level:
            found.append((soon, probes >= data.level, "reopening"))
        if not found:
            return "", now, 0
        at = max(now + 1, *(each[0] for each in found))
        _, is_own, reason = max(found, key=lambda each: (each[1], each[0]))
        if not is_own:
            return "queue", at, 0
        return reason, at, max(terms.day_ends, now + 1_000) if reason == "day" else 0

    def _free_at(self, place: int) -> int:
        """Return the earliest moment in which a request behind so many others can count.

        One that is under way counts for a window from now at least, however soon it ends.
        """
        terms, in_order = self._terms, sorted(each[0] for each in self._permits.values())
        at = len(in_order) + place - terms.requests
        most = max(1, terms.requests)
        rounds = max(0, (at - len(in_order)) // most + 1)
        at -= rounds * most
        first = self._now if at < 0 else min(in_order[at], self._now + terms.window)
        return first + rounds * terms.window

    def _tokens_free_at(self, lacking: int) -> int:
        latest = self._now + self._terms.window
        for until, tokens, *_ in sorted(self._permits.values(), key=lambda each: each[0]):
            lacking -= tokens
            if lacking <= 0:
                return min(until, latest)
        return latest

    def release(
        self, permit: str, *, verdict: Verdict, tokens: int, closed_seconds: float | None
    ) -> GateState | None:
        """See `BaseCoordinator.release`."""
        held, data, window = self._permits.get(permit), self._data, self._terms.window
        self._waiters.pop(permit, None)
        if (held is not None and len(held) == 2) or permit in data.others:
            return None
        if verdict == "unsent":
            if held is not None:
                del self._permits[permit]
                data.today -= 1
            return None
        if held is None:  # forgotten, or let through while the state was out of reach
            data.others[permit] = self._now + ARRIVAL_MS + window
            return self._judge(verdict, closed_seconds, epoch=-1, since=self._now)
        _, _, epoch, since = held
        until = min(self._ended + window, since + ARRIVAL_MS + window)
        self._permits[permit] = [until, tokens]
        return self._judge(verdict, closed_seconds, epoch=epoch, since=since)

    def _judge(
        self, verdict: Verdict, closed_seconds: float | None, *, epoch: int, since: int
    ) -> GateState | None:
        """Apply a verdict.

        Args:
            verdict: Not "unsent"; "ended" changes nothing.
            closed_seconds: What the provider asked for.
            epoch: In which the permit was given.
            since: When it was given.

        Returns:
            See `release`.
        """
        data, terms, now = self._data, self._terms, self._now
        is_open = data.level == 0
        is_news = is_open or (data.closed <= now and epoch == data.epoch)
        asked = now + ended_ms(closed_seconds) if closed_seconds else None
        has_changed = False
        if verdict == "quota" and since < data.day:  # it was yesterday's
            verdict = "throttled"
        if verdict == "ok":
            data.failures = 0
            if is_news and not is_open:
                data.level *= 2
                has_changed = data.level >= min(terms.requests, FULLY_OPEN)
            if has_changed:
                data.level, data.closed, data.why, data.closings = 0, 0, "", 0
        elif verdict == "failed":
            data.failures += 1
            is_probe = not is_open and data.why == "breaker"
            is_due = is_news and (data.failures >= terms.failures or is_probe)
            if is_due and terms.failures != NO_LIMIT:
                until = now + terms.open * 2 ** min(data.closings, 3)
                has_changed = self._close("breaker", until, is_news=True)
        elif verdict == "quota":
            until = terms.day_ends if terms.day_ends > now else asked or now + 60_000
            has_changed = self._close("quota", until, is_news=is_news)
        elif verdict == "throttled" and (asked is not None or is_news):
            until = asked or now + min(60_000, 1_000 * 2 ** min(data.closings, 6))
            has_changed = self._close("throttled", until, is_news=is_news)
        return self.state() if has_changed else None

    def _close(self, why: Reason, until: int, *, is_news: bool) -> bool:
        """Close for longer than it is, and return whether it was not closed before."""
        data = self._data
        if until <= max(data.closed, self._now):
            return False
        was_closed = data.closed > self._now
        data.closed, data.why, data.level = until, why, 1
        if not was_closed:
            data.epoch += 1
            data.closings += is_news
        return not was_closed


def reopen(data: GateData, seconds: float) -> None:
    """See `BaseCoordinator.reopen`."""
    if data.closed > (now := asked_ms(seconds)):
        data.closed, data.closings = now, 0


def _pause(place: int) -> int:
    """Return after how long to ask again where nobody can know when."""
    return min(1_000, 250 * (1 + place))
