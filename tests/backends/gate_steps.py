"""Random steps of callers at a gate, for comparing two coordinators."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from django_obc_ai.backends.coordinators import BaseCoordinator
from django_obc_ai.types.coordination import Limits

CHANGES: list[dict[str, Any]] = [
    {},
    {"requests": 3},
    {"requests": None, "tokens": 250},
    {"requests": 12, "tokens": 90},
    {"failures": None},
    {"window_seconds": 7.5},
    {"per_day": None},
]
VERDICTS = (
    ("ok",) * 40 + ("failed",) * 6 + ("throttled",) * 2 + ("quota",) + ("unsent", "ended") * 3
)


def steps(seed: int, count: int, *, begin: float) -> Iterator[tuple[float, str, dict[str, Any]]]:
    """Yield moments, methods and arguments."""
    chance, now, known = random.Random(seed), begin, ["0"]
    usual = Limits(
        requests=chance.choice((2, 6, 40)),
        tokens=chance.choice((None, 120, 900)),
        window_seconds=chance.choice((2.0, 60.0)),
        per_day=chance.choice((None, 15, 60)),
        failures=chance.choice((None, 2, 4)),
        open_seconds=5,
    )
    pace = chance.choice((0.02, 0.4, 5.0))
    day = pace * 80
    for number in range(count):
        now += chance.choice((0, 0, 1, 1, 1, 3, 20)) * pace * chance.random()
        if chance.random() < 0.5:  # whole milliseconds, where ties come from
            now = max(now, round(now, chance.choice((0, 1, 3))))
        limits = replace(usual, **chance.choice(CHANGES)) if chance.random() < 0.1 else usual
        skew = chance.choice((-2, 0, 0, 0, 2)) * pace  # of the caller's clock
        starts = (now + skew) // day * day
        limits = replace(limits, day_starts_at=starts, day_ends_at=starts + day)
        if chance.random() < 0.3:
            known.append(str(number))
        permit = chance.choice(known[-8:])
        what = chance.random()
        if what < 0.55:
            asked = {"permit": permit, "tokens": chance.randrange(60), "limits": limits}
            yield now, "acquire", {**asked, "patience_seconds": chance.choice((0, 0.5, 3, 90, 9e9))}
        elif what < 0.95:
            told = {"permit": permit, "verdict": chance.choice(VERDICTS), "limits": limits}
            closed = chance.choice((None, None, 0, 1.25, 30))
            told |= {"tokens": chance.randrange(90), "closed_seconds": closed}
            yield now, "release", told
        elif what < 0.99:
            yield now, "gate_state", {"limits": limits}
        else:
            yield now, "reopen", {}


def compare(one: BaseCoordinator, other: BaseCoordinator, *, seed: int, count: int) -> list[Any]:
    """Take the same steps with both, assert the same answers, and return them."""
    answers = []
    for now, method, arguments in steps(seed, count, begin=1_900_000_000.0):
        one.clock = other.clock = lambda now=now: now  # type: ignore[misc]  # bound early
        found, wanted = (getattr(each, method)("default", **arguments) for each in (one, other))
        assert found == wanted, (found, wanted, seed, len(answers), now, method, arguments)
        answers.append(found)
    return answers
