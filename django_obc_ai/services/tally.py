"""Adding up operations: one tally for a quarter of an hour, and sums of tallies."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeAlias

from django_obc_ai.types import nano_from_usd

#: What a breakdown is made by, and the column that holds it.
DIMENSIONS: dict[str, str] = {
    "module": "module",
    "operation_type": "operation_type",
    "model": "model_used",
    "user": "user_id",
    "scope": "scope",
}
_TOKENS = (
    "input_tokens", "cached_tokens", "output_tokens", "thinking_tokens", "tool_tokens",
    "audio_tokens",
)  # fmt: skip
SUMS = (
    "operations", "failures", "cached", "coalesced", "cost_nano", "cost_unknown", "saved_nano",
    "coalesced_nano", *_TOKENS, "timed", "response_ms", "waited", "waited_ms", "fallbacks",
)  # fmt: skip
#: Of a row of the ledger, in the order that `Tally.add` takes them.
COLUMNS = (
    "success", "error_category", "cached", "coalesced", "cost_usd", "cost_known", "saved_usd",
    "response_time_ms", "first_chunk_ms", "waited_ms", "fallback_from", "pk", *_TOKENS,
    *DIMENSIONS.values(),
)  # fmt: skip
_FIRST_TOKENS = COLUMNS.index(_TOKENS[0])
_FIRST_VALUE = _FIRST_TOKENS + len(_TOKENS)
#: A bin of times ends at 1.1 times the end of the one before; its middle is 4.9 % off at most.
BIN_GROWTH = 1.1
_LOG_GROWTH = math.log(BIN_GROWTH)
#: Of the dearest and of the slowest calls, so many are kept.
KEPT = 5
#: (operations, failures, cached, cost in nano-dollars, coalesced)
Share: TypeAlias = list[int]


@dataclass(slots=True)
class Tally:
    """Counts and sums of operations.

    Attributes:
        sums: By name, see `SUMS`. "coalesced" are answers that another call was given for both;
            "saved_nano" is what they and the cached ones had cost, "coalesced_nano" their part of
            it. Times are of the other answers. "waited" operations, for "waited_ms" together, had
            to wait; "fallbacks" went to another provider than the one that was asked.
        errors: How many failed, by category.
        times: How many answers took how long, by bin; see `bin_of`.
        first_chunks: The same until the first piece of a stream.
        by: By dimension and value, what each value has to do with it.
        dearest: (nano-dollars, key) of the dearest calls, dearest first.
        slowest: (milliseconds, key) of the slowest answers, slowest first.
    """

    sums: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SUMS, 0))
    errors: dict[str, int] = field(default_factory=dict)
    times: dict[str, int] = field(default_factory=dict)
    first_chunks: dict[str, int] = field(default_factory=dict)
    by: dict[str, dict[str, Share]] = field(
        default_factory=lambda: {each: {} for each in DIMENSIONS}
    )
    dearest: list[tuple[int, str]] = field(default_factory=list)
    slowest: list[tuple[int, str]] = field(default_factory=list)

    def add(self, row: tuple[Any, ...]) -> None:
        """Add an operation, given as the values of `COLUMNS`."""
        success, error, cached, is_shared, cost, known, saved = row[:7]
        milliseconds, first_chunk, waited_ms, fallback_from, key = row[7:_FIRST_TOKENS]
        nano, saved_nano, sums = nano_from_usd(cost), nano_from_usd(saved), self.sums
        coalesced = is_shared and success  # an error that is shared is a failure like others
        sums["operations"] += 1
        sums["failures"] += not success
        sums["cached"] += cached
        sums["coalesced"] += coalesced
        sums["cost_nano"] += nano
        sums["cost_unknown"] += not known
        sums["saved_nano"] += saved_nano
        sums["coalesced_nano"] += saved_nano if coalesced else 0
        sums["waited"] += waited_ms > 0
        sums["waited_ms"] += waited_ms
        sums["fallbacks"] += fallback_from != ""
        for name, tokens in zip(_TOKENS, row[_FIRST_TOKENS:_FIRST_VALUE], strict=True):
            sums[name] += tokens
        if not success:
            self.errors[error] = self.errors.get(error, 0) + 1
        elif not (cached or coalesced):
            sums["timed"] += 1
            sums["response_ms"] += milliseconds
            _count(self.times, milliseconds)
            self.slowest = _kept(self.slowest, (milliseconds, str(key)))
        if first_chunk is not None:
            _count(self.first_chunks, first_chunk)
        if nano:
            self.dearest = _kept(self.dearest, (nano, str(key)))
        for dimension, value in zip(DIMENSIONS, row[_FIRST_VALUE:], strict=True):
            name = "" if value is None else str(value)
            share = self.by[dimension].setdefault(name, [0] * 5)
            share[0] += 1
            share[1] += not success
            share[2] += cached
            share[3] += nano
            share[4] += coalesced

    def merge(self, other: Tally) -> None:
        """Add what another tally has counted."""
        for name, count in other.sums.items():
            self.sums[name] += count
        for mine, theirs in (
            (self.errors, other.errors),
            (self.times, other.times),
            (self.first_chunks, other.first_chunks),
        ):
            for name, count in theirs.items():
                mine[name] = mine.get(name, 0) + count
        for dimension, values in other.by.items():
            merge_shares(self.by[dimension], values)
        for name in ("dearest", "slowest"):
            both = [*getattr(self, name), *getattr(other, name)]
            setattr(self, name, sorted(both, reverse=True)[:KEPT])

    def to_row(self) -> dict[str, Any]:
        """Return the tally as the columns of `OperationRollup`."""
        sums = {
            "sums": [self.sums[name] for name in SUMS],
            "errors": self.errors,
            "times": self.times,
            "first_chunks": self.first_chunks,
            "dearest": self.dearest,
            "slowest": self.slowest,
        }
        return {"sums": sums, **{f"by_{name}": values for name, values in self.by.items()}}

    @property
    def cost_usd(self) -> Decimal:
        """Return the sum in US dollars."""
        return Decimal(self.sums["cost_nano"]).scaleb(-9)

    def percentile(self, share: float) -> float | None:
        """Return how many milliseconds that share of answers took at most, within 5 %."""
        return percentile(self.times, share)


def tally_of(row: Mapping[str, Any]) -> Tally:
    """Return what `Tally.to_row` wrote; columns that were not read count nothing."""
    found, sums = Tally(), row["sums"]
    found.sums = dict(zip(SUMS, sums["sums"], strict=True))
    found.errors, found.times = sums["errors"], sums["times"]
    found.first_chunks = sums["first_chunks"]
    found.dearest = [(nano, key) for nano, key in sums["dearest"]]
    found.slowest = [(time, key) for time, key in sums["slowest"]]
    for name in DIMENSIONS:
        found.by[name] = row.get(f"by_{name}", {})
    return found


def merge_shares(mine: dict[str, Share], others: Mapping[str, Share]) -> None:
    """Add shares by value."""
    for value, share in others.items():
        old = mine.get(value)
        mine[value] = (
            list(share) if old is None else [a + b for a, b in zip(old, share, strict=True)]
        )


def bin_of(milliseconds: int) -> int:
    """Return the bin of a time: bin n ends at 1.1 to the n; bin 0 holds 0 and 1 ms."""
    return 0 if milliseconds <= 1 else math.ceil(math.log(milliseconds) / _LOG_GROWTH - 1e-9)


def percentile(bins: Mapping[str, int], share: float) -> float | None:
    """Return the value below which a share (0 to 1) of the times lies, nearest rank.

    It is the geometric middle of its bin, at most 4.9 % off. None if there are no times.
    """
    total = sum(bins.values())
    rank, seen = max(1, math.ceil(share * total)), 0
    for number in sorted(map(int, bins)):
        seen += bins[str(number)]
        if seen >= rank:
            return 1.0 if number == 0 else BIN_GROWTH ** (number - 0.5)
    return None


def _count(bins: dict[str, int], milliseconds: int) -> None:
    name = str(bin_of(milliseconds))
    bins[name] = bins.get(name, 0) + 1


def _kept(held: list[tuple[int, str]], new: tuple[int, str]) -> list[tuple[int, str]]:
    if len(held) == KEPT and new <= held[-1]:
        return held
    return sorted([*held, new], reverse=True)[:KEPT]
