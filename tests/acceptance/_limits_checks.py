"""What the server's journal must not show; see limits.py. Times are in seconds."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from typing import Any


def most_in_window(arrivals: Sequence[float], seconds: float, weights: Sequence[int] = ()) -> int:
    """Return the most that arrived within any window, looked at with every arrival.

    Args:
        arrivals: In order.
        seconds: A window's length; its beginning does not belong to it.
        weights: What each arrival counts; 1 by default.
    """
    most = total = start = 0
    counts = weights or [1] * len(arrivals)
    for at, count in zip(arrivals, counts, strict=True):
        total += count
        while arrivals[start] <= at - seconds:
            total -= counts[start]
            start += 1
        most = max(most, total)
    return most


def by_day(stamps: Sequence[float], seconds: float) -> dict[int, int]:
    """Return how many arrived in each scaled day, by its number since 1970."""
    return dict(Counter(int(stamp // seconds) for stamp in stamps))


def overtaken(begun: Sequence[float], served: Sequence[float], apart: float) -> tuple[int, int]:
    """Return how many pairs of calls began so far apart, and in how many the later came first."""
    pairs = sorted(zip(begun, served, strict=True))
    starts = [began for began, _ in pairs]
    count = wrong = 0
    for at, (began, came) in enumerate(pairs):
        later = pairs[max(at + 1, bisect_left(starts, began + apart)) :]
        count += len(later)
        wrong += sum(other < came for _, other in later)
    return count, wrong


def too_eager(entries: Sequence[Any]) -> int:
    """Return how many came too soon in a reopening gate.

    One attempt at a time, and twice as many with each success: with s answers sent, no more than
    2 ** s may be under way.

    Args:
        entries: Of the journal, since the gate reopened, in order.
    """
    found = 0
    for at, entry in enumerate(entries):
        ends = [each.started + each.seconds for each in entries[: at + 1]]
        answered = sum(end < entry.started for end in ends)
        if len(ends) - answered > 2 ** min(answered, 20):
            found += 1
    return found


def per_tenth(arrivals: Sequence[float], since: float, tenths: int) -> list[int]:
    """Return how many arrived in each 100 ms."""
    counts = Counter(int((at - since) * 10) for at in arrivals if at >= since)
    return [counts.get(number, 0) for number in range(tenths)]
