"""Are the numbers of an answer those of the rows that it speaks about?"""

from __future__ import annotations

import datetime
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django_obc_ai.types.chat import QueryResult

#: Numbers that say nothing about the data: of sources, and of the items of a list.
_NO_CLAIM = re.compile(r"\[\d[\d\s,;]*\]|^[ \t]*\d{1,3}[.)][ \t]", re.MULTILINE)
_NUMBER = re.compile(
    r"(?<![\w.])(?P<digits>(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?)"
    r"(?:\s*(?P<percent>%|percent\b|porsiyento\b)"
    r"|[ \t]*(?P<scale>thousand|million|billion|libo|libong|milyon|milyong|bilyon|bilyong)\b)?"
)
_WITHIN = re.compile(r"\d+(?:\.\d+)?")
_SCALES = {"thous": 3, "libo": 3, "libon": 3, "milli": 6, "milyo": 6, "billi": 9, "bilyo": 9}
_MOST_ROWS = 1_000
_MOST_DIGITS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """A number as a text has it: its value, and by how much it may have been rounded."""

    text: str
    value: Decimal
    step: Decimal
    is_percent: bool

    def is_among(self, values: Sequence[Decimal]) -> bool:
        """Return whether this can be one of these, in order, rounded to the digits shown."""
        at = bisect_left(values, self.value - self.step / 2)
        return at < len(values) and values[at] <= self.value + self.step / 2


def find_foreign_numbers(
    text: str, results: Sequence[QueryResult], *, known: Iterable[str] = ()
) -> list[str]:
    """Return the numbers of an answer that nothing it rests on can explain.

    Explained are the values of the rows and the numbers within their texts; how many rows
    there are, or have the same value; sums, means and differences of two values of a column;
    shares of a column or of all rows, in percent; and the numbers of other texts that the
    answer may speak of. Numbers written as words are not looked at.

    Args:
        text: The answer.
        results: The rows that it is about.
        known: Other texts that it may take numbers from, such as the question.
    """
    said = list(_read(_NO_CLAIM.sub(" ", text)))
    if not said:
        return []
    exact = {value for each in known for value in _within(each)}
    for result in results:
        exact |= {abs(value) for value in _values(result)}
    values = sorted(exact)
    shares = sorted({share for result in results for share in _shares(result)})
    foreign = [
        each.text
        for each in said
        if not each.is_among(values) and not (each.is_percent and each.is_among(shares))
    ]
    return list(dict.fromkeys(foreign))


def _read(text: str) -> Iterator[_Said]:
    for found in _NUMBER.finditer(text):
        plain = found["digits"].replace(",", "")[:_MOST_DIGITS]
        power = _SCALES.get((found["scale"] or "").lower()[:5], 0)
        decimals = len(plain.partition(".")[2])
        step = Decimal(1).scaleb(power - decimals) if power or decimals else Decimal(0)
        is_percent = found["percent"] is not None
        if is_percent and not decimals:
            step = Decimal(1)
        value = Decimal(plain).scaleb(power)
        yield _Said(text=found[0].strip(), value=value, step=step, is_percent=is_percent)


def _within(text: str) -> Iterator[Decimal]:
    return (Decimal(found[:_MOST_DIGITS]) for found in _WITHIN.findall(text.replace(",", "")))


def _values(result: QueryResult) -> Iterator[Decimal]:
    yield from (Decimal(each) for each in (len(result.rows), result.total) if each is not None)
    for filtered in result.plan.filters:
        yield from _within(str(filtered.value))
    for column in _columns(result):
        numbers = [each for each in map(_number, column) if each is not None]
        yield from numbers
        yield from (rounded for each in numbers for rounded in (each.to_integral_value(),))
        yield from _within(" ".join(_text(each) for each in column if _number(each) is None))
        yield from map(Decimal, Counter(map(_text, column)).values())
        yield Decimal(len(set(map(_text, column))))
        if numbers:
            yield sum(numbers, Decimal(0))
            yield sum(numbers, Decimal(0)) / len(numbers)
        if len(numbers) <= 50:
            yield from (abs(one - other) for one in numbers for other in numbers)


def _shares(result: QueryResult) -> Iterator[Decimal]:
    for column in _columns(result):
        numbers = [each for each in map(_number, column) if each is not None]
        whole = sum(numbers, Decimal(0))
        if whole:
            yield from (each / whole * 100 for each in numbers)
        if len(numbers) <= 50:
            yield from (a / b * 100 for a in numbers for b in numbers if b)
        counts = Counter(map(_text, column)).values()
        yield from (Decimal(each) / len(column) * 100 for each in counts)


def _columns(result: QueryResult) -> Iterator[tuple[Any, ...]]:
    if result.rows:
        yield from zip(*result.rows[:_MOST_ROWS], strict=True)


def _number(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        return None
    number = Decimal(str(value))
    return number if number.is_finite() else None


def _text(value: Any) -> str:
    if isinstance(value, (datetime.date, datetime.datetime)):
        return f"{value.isoformat()} {value.day} {value.month} {value.year}"
    return str(value)
