"""How fast a run goes, and how long it will take."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

#: Older steps say nothing of the present speed: rows that are unchanged take no time at all.
WINDOW_SECONDS = 60.0


class Pace:
    """A moving average over the steps of the last minute.

    Args:
        clock: Seconds that only grow.
        window_seconds: Steps that are older do not count, but for the last one before.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        *,
        window_seconds: float = WINDOW_SECONDS,
    ) -> None:
        """Begin now, with nothing done."""
        self._clock = clock
        self._window = window_seconds
        self._steps: deque[tuple[float, int]] = deque([(clock(), 0)])

    def note(self, done: int) -> None:
        """Take down how much is done by now, in total."""
        now = self._clock()
        self._steps.append((now, done))
        while len(self._steps) > 2 and self._steps[1][0] <= now - self._window:
            self._steps.popleft()

    @property
    def per_second(self) -> float | None:
        """Return what is done in a second; None while nobody can tell."""
        (began, before), (ended, done) = self._steps[0], self._steps[-1]
        if ended <= began or done <= before:
            return None
        return (done - before) / (ended - began)

    def seconds_left(self, total: int) -> float | None:
        """Return how long the rest takes at this speed; None while nobody can tell."""
        left = total - self._steps[-1][1]
        if left <= 0:
            return 0.0
        speed = self.per_second
        return None if speed is None else left / speed
