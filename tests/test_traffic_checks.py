"""What the proof of the limits counts by finds what is wrong."""

from __future__ import annotations

from types import SimpleNamespace

from tests.acceptance._limits_checks import (
    by_day,
    most_in_window,
    overtaken,
    per_tenth,
    too_eager,
)


def _entries(*pairs: tuple[float, float]) -> list[SimpleNamespace]:
    return [SimpleNamespace(started=at, seconds=seconds) for at, seconds in pairs]


def test_a_window_is_counted_wherever_it_lies() -> None:
    # Two windows of 10 in which each half is allowed and the seam is not.
    arrivals = [8.0, 8.5, 9.0, 10.5, 11.0, 11.5]
    assert most_in_window(arrivals, 10) == 6 and most_in_window(arrivals, 2) == 3
    assert most_in_window([0.0, 3.0, 6.0], 3) == 1  # its beginning does not belong to it
    assert most_in_window([0.0, 1.0, 4.0], 3, [5, 6, 9]) == 11
    assert most_in_window([], 3) == 0


def test_days_begin_at_their_own_midnight() -> None:
    assert by_day([29.9, 30.0, 59.9, 60.0], 30) == {0: 1, 1: 2, 2: 1}


def test_calls_that_were_overtaken_are_counted() -> None:
    assert overtaken([0, 1, 2], [10, 11, 12], 0.5) == (3, 0)
    assert overtaken([0, 1, 2], [10, 12, 11], 0.5) == (3, 1)
    assert overtaken([0, 1, 2], [10, 12, 11], 1.5) == (1, 0)


def test_a_gate_that_reopens_too_wide_is_seen() -> None:
    gentle = _entries((0, 1), (1.1, 1), (1.2, 1), (2.3, 1), (2.4, 1), (2.5, 1), (2.6, 1))
    assert too_eager(gentle) == 0
    assert too_eager(_entries((0, 1), (0.5, 1))) == 1
    assert too_eager(_entries((0, 1), (1.1, 1), (1.2, 1), (1.3, 1))) == 1


def test_arrivals_are_shown_by_tenths_of_a_second() -> None:
    assert per_tenth([4.9, 5.0, 5.05, 5.35], 5.0, 4) == [2, 0, 0, 1]
