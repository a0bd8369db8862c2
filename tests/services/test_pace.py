"""How fast a run goes: a moving average, with a clock that the test turns."""

from __future__ import annotations

from django_obc_ai.services._pace import Pace


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_nobody_can_tell_before_something_is_done() -> None:
    clock = Clock()
    pace = Pace(clock)
    assert (pace.per_second, pace.seconds_left(10)) == (None, None)
    clock.now += 1
    pace.note(0)
    assert (pace.per_second, pace.seconds_left(10)) == (None, None)
    assert pace.seconds_left(0) == 0.0


def test_a_steady_run_takes_what_its_rest_takes() -> None:
    clock = Clock()
    pace = Pace(clock)
    for done in range(10, 60, 10):
        clock.now += 2
        pace.note(done)
    assert (pace.per_second, pace.seconds_left(100)) == (5.0, 10.0)


def test_only_the_last_minute_counts() -> None:
    clock = Clock()
    pace = Pace(clock, window_seconds=60)
    clock.now += 1
    pace.note(50_000)  # unchanged rows, which take no time
    for step in range(1, 31):
        clock.now += 10
        pace.note(50_000 + 20 * step)
    assert pace.per_second == 2.0
    assert pace.seconds_left(50_600 + 100) == 50.0


def test_steps_that_are_longer_than_the_window_count_one_by_one() -> None:
    clock = Clock()
    pace = Pace(clock, window_seconds=60)
    for done in (10, 400):
        clock.now += 300
        pace.note(done)
    assert pace.per_second == 390 / 300


def test_a_clock_that_stands_still_tells_nothing() -> None:
    pace = Pace(Clock())
    pace.note(5)
    assert (pace.per_second, pace.seconds_left(9), pace.seconds_left(5)) == (None, None, 0.0)
