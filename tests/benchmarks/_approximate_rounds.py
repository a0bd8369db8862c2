"""The clock of approximate_search.py: rounds in which all ways take turns, and ratios of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from tests.benchmarks._approximate_bare import Way
from tests.benchmarks._approximate_data import Data, Part
from tests.benchmarks._bench import p, timed

_TURN = 20  # questions of one way before the next has its turn


def measure(ways: Sequence[Way], data: Data, part: Part) -> None:
    """Give each way its recall, and the milliseconds of every search, one list a round."""
    for way in ways:
        way.prepare()
        count = len(data.questions) if way.searches is None else way.searches
        answers = [way.work(_asked(way, data, number)) for number in range(count)]
        way.recall = data.recall([list(way.rows_of(each)) for each in answers])
    for turn in range(part.rounds if ways else 0):
        print(f"  round {turn + 1} of {part.rounds}", flush=True)
        times: dict[int, list[float]] = {id(way): [] for way in ways}
        # Nobody comes always after the same one.
        order = list(ways[::-1] if turn % 2 else ways)
        for start in range(0, part.searches, _TURN):
            for way in order:
                end = min(start + _TURN, part.searches, way.searches or part.searches)
                if start >= end:
                    continue
                way.prepare()
                way.work(_asked(way, data, len(data.questions) - 1 - start))
                works = [partial(way.work, _asked(way, data, n)) for n in range(start, end)]
                times[id(way)] += [timed(each) for each in works]
        for way in ways:
            way.times.append(times[id(way)])


def _asked(way: Way, data: Data, number: int) -> object:
    return f"question {number}" if way.asks_text else data.questions[number : number + 1]


def middle(way: Way, percent: float) -> float:
    """The median over the rounds of a percentile of each, in milliseconds."""
    return float(np.median([p(each, percent) for each in way.times]))


def ratio(way: Way, other: Way) -> float:
    """The median over the rounds of one way's median search, in those of another."""
    pairs = zip(way.times, other.times, strict=True)
    return float(np.median([p(mine, 50) / p(theirs, 50) for mine, theirs in pairs]))


def spread(way: Way, other: Way) -> str:
    """The least and the largest ratio of a round."""
    pairs = zip(way.times, other.times, strict=True)
    each = [p(mine, 50) / p(theirs, 50) for mine, theirs in pairs]
    return f"{min(each):.2f} to {max(each):.2f}"


def table(ways: Sequence[Way]) -> list[str]:
    """Rows of what was measured."""
    lines = [
        "| | efSearch | recall@10 | p50 ms | p95 ms | built in s | MB |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for way in ways:
        ef = "" if way.ef is None else str(way.ef)
        built = "" if way.build_seconds is None else f"{way.build_seconds:,.0f}"
        size = "" if way.megabytes is None else f"{way.megabytes:,.0f}"
        lines.append(
            f"| {way.name} | {ef} | {way.recall:.4f} | {middle(way, 50):.3f} |"
            f" {middle(way, 95):.3f} | {built} | {size} |"
        )
    return lines
