"""What processes tell each other about calls under way: flights, permits, closed providers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: How an attempt ended, as far as its provider's limits and breaker are concerned. "unsent" is
#: given back whole; "throttled" and "quota" are the two kinds of 429; "ended" says nothing of the
#: provider, since the caller left.
Verdict = Literal["ok", "failed", "throttled", "quota", "ended", "unsent"]
#: Why an attempt may not be made now; "" if it may. "queue": others were first; "reopening": only
#: few are let through after a pause.
Reason = Literal[
    "", "requests", "tokens", "day", "throttled", "quota", "breaker", "reopening", "queue"
]

#: For the end of these no call waits, however patient: it is given up at once, and not queued.
UNQUEUED: frozenset[Reason] = frozenset({"breaker", "quota", "day"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one provider alias may be asked, by all workers together.

    Attributes:
        requests: In any window; None is any number.
        tokens: In any window, prompt and answer; None is any number.
        window_seconds: How long a window is.
        per_day: Requests in one of the provider's own days; None is any number.
        day: The name of the present day in the provider's time zone, "2026-11-28".
        day_starts_at: When it began, in seconds since 1970.
        day_ends_at: When it ends, in seconds since 1970.
        failures: So many failures without a success between open the breaker; None: never.
        open_seconds: For so long.
    """

    requests: int | None = None
    tokens: int | None = None
    window_seconds: float = 60.0
    per_day: int | None = None
    day: str = ""
    day_starts_at: float = 0.0
    day_ends_at: float = 0.0
    failures: int | None = None
    open_seconds: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """The answer to a request for a permit.

    Attributes:
        reason: "" if it is given.
        wait_seconds: When asking again makes sense; 0 if it is given.
        until: When the provider reopens, in seconds since 1970, for "throttled", "quota",
            "breaker" and "day"; else None.
    """

    reason: Reason = ""
    wait_seconds: float = 0.0
    until: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GateState:
    """How much of its limits an alias has used, and whether it is open.

    Attributes:
        requests: That count in the present window, those under way included.
        tokens: The same for tokens.
        today: Requests of the provider's present day.
        in_flight: Attempts under way.
        waiting: Calls that wait for a permit.
        failures: Since the last success.
        reason: Why it is closed: "throttled", "quota", "breaker"; "reopening" while few are let
            through; "" if it is open.
        until: When a closed one reopens, in seconds since 1970.
    """

    requests: int = 0
    tokens: int = 0
    today: int = 0
    in_flight: int = 0
    waiting: int = 0
    failures: int = 0
    reason: Reason = ""
    until: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Boarding:
    """What a call that asks the same as others is to do.

    Attributes:
        role: "lead": make the call; "follow": wait and ask again; "landed": here is the answer;
            "lost": two leaders died, do not try a third time.
        is_takeover: Of "lead": whether an earlier leader died.
        leader: The token of the present leader, so that a follower notices another one.
        text: What the leader has published since ``seen``.
        seen: To be given when asking again; opaque.
        answer: Of "landed": what the leader left.
    """

    role: Literal["lead", "follow", "landed", "lost"]
    is_takeover: bool = False
    leader: str = ""
    text: str = ""
    seen: int = 0
    answer: str = ""
