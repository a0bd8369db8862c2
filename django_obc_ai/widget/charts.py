"""A small drawing of an answer's rows, where they are a series or a breakdown."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from django_obc_ai.types.chat import QueryResult
from django_obc_ai.widget.cells import is_number, show_value
from django_obc_ai.widget.shown import Chart, Point

LEAST_POINTS = 2
MOST_POINTS = 24
_SPACE = 100.0
_THICKNESS = 0.7  # of a bar, of what there is for it
_DIGITS = 2


def draw_chart(result: QueryResult | None) -> Chart | None:
    """Return the drawing of some rows; None if they are no series and no breakdown.

    They are one where there is one row for each value of one column, with a figure: the first.
    Values in order of time or size make a line, others bars. Nought is always in sight, so that
    lengths can be compared.
    """
    if result is None or len(result.plan.group_by) != 1 or not result.plan.aggregates:
        return None
    pairs = [(row[0], row[1]) for row in result.rows]
    if not LEAST_POINTS <= len(pairs) <= MOST_POINTS or not all(is_number(v) for _, v in pairs):
        return None
    keys = [key for key, _ in pairs]
    is_line = _is_series(keys)
    if is_line and keys[0] > keys[-1]:
        pairs.reverse()  # time goes to the right
    values = [float(value) for _, value in pairs]
    low, high = min(0.0, *values), max(0.0, *values)
    span = high - low or 1.0
    place = _line if is_line else _bars
    return Chart(
        kind="line" if is_line else "bar",
        label=result.labels[0],
        value_label=result.labels[1],
        points=tuple(
            Point(
                label=show_value(key),
                value=value,
                text=show_value(exact, is_figure=True),
                **place(at, len(pairs), (value - low) / span, (0.0 - low) / span),
            )
            for at, ((key, exact), value) in enumerate(zip(pairs, values, strict=True))
        ),
        zero=_rounded(_SPACE * ((high if is_line else -low) / span)),
    )


def _is_series(keys: Sequence[Any]) -> bool:
    is_time = all(isinstance(key, datetime.date) for key in keys)  # of date and time, too
    if not (is_time or all(is_number(key) for key in keys)):
        return False
    steps = list(pairwise(keys))
    return all(a < b for a, b in steps) or all(a > b for a, b in steps)


def _line(at: int, count: int, share: float, _zero: float) -> dict[str, float]:
    return {
        "x": _rounded(_SPACE * at / (count - 1)),
        "y": _rounded(_SPACE * (1 - share)),
        "width": 0.0,
        "height": 0.0,
    }


def _bars(at: int, count: int, share: float, zero: float) -> dict[str, float]:
    step = _SPACE / count
    return {
        "x": _rounded(_SPACE * min(share, zero)),
        "y": _rounded(step * (at + (1 - _THICKNESS) / 2)),
        "width": _rounded(_SPACE * abs(share - zero)),
        "height": _rounded(step * _THICKNESS),
    }


def _rounded(number: float) -> float:
    return round(number, _DIGITS)
