"""Where the offline provider finds the values of a JSON answer: in texts, never of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import date
from fractions import Fraction

from django_obc_ai.backends.providers import _offline_text as reading
from django_obc_ai.backends.providers._json_schema import Json

#: By string format: what to look for in the texts, and the neutral value.
FORMATS = {
    "date": (r"\b\d{4}-\d\d-\d\d\b", "1970-01-01"),
    "date-time": (
        r"\b\d{4}-\d\d-\d\dT[0-2]\d:[0-5]\d:[0-5]\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)",
        "1970-01-01T00:00:00Z",
    ),
    "time": (r"\b[0-2]\d:[0-5]\d:[0-5]\d(?:Z|[+-]\d\d:\d\d)", "00:00:00Z"),
    "email": (r"\b[\w.+-]+@\w[\w-]*(?:\.\w[\w-]*)+\b", "nobody@example.invalid"),
    "uri": (r"\bhttps?://[^\s<>\"']*[\w/]", "about:blank"),
    "uuid": (r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", f"{'0' * 8}{'-0000' * 4}00000000"),
}
#: What may stand between a name and its number: "a population of about 1,234".
_LINKS = frozenset({"of", "is", "was", "about", "ay"})
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def find_formatted(form: str, passages: Sequence[reading.Passage]) -> Iterator[str]:
    """Yield what the passages hold in a format of `FORMATS`, and last its neutral value."""
    pattern, neutral = FORMATS[form]
    for passage in passages:
        for found in re.findall(pattern, passage.text):
            if not form.startswith("date") or _is_date(found[:10]):
                yield found
    yield neutral


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:  # 2026-02-30
        return False
    return True


def group_by_source(passages: Sequence[reading.Passage]) -> list[list[reading.Passage]]:
    """Return the passages of each source that has any."""
    found: dict[int, list[reading.Passage]] = {}
    for each in passages:
        found.setdefault(each.number, []).append(each)
    return list(found.values())


def find_mentioned(values: Sequence[Json], passages: Sequence[reading.Passage]) -> list[Json]:
    """Return the strings among the values whose words stand in the passages."""
    text = " | ".join(" ".join(reading.read_words(each.text)) for each in passages)
    named = ((each, " ".join(reading.read_words(each))) for each in values if isinstance(each, str))
    return [each for each, spoken in named if spoken and f" {spoken} " in f" {text} "]


def split_key(key: str) -> str:
    """Return the words of a property's name: totalPopulation, total_population."""
    return re.sub(r"(?<=[a-z\d])(?=[A-Z])", " ", key).replace("_", " ")


def find_numbers_beside(key: str, passages: Sequence[reading.Passage]) -> Iterator[Fraction]:
    """Yield the numbers that stand right after or before a property's name in a text."""
    name = reading.read_terms(split_key(key))
    for passage in passages if name else ():
        spoken = reading.read_words(passage.text)
        for start in range(len(spoken)):
            end = start + len(name)
            if [reading.stem(word) for word in spoken[start:end]] != name:
                continue
            after = [word for word in spoken[end : end + 3] if word not in _LINKS]
            for word in (*after[:1], *spoken[max(0, start - 1) : start]):
                if _NUMBER.fullmatch(word):
                    yield Fraction(word)


def fit(text: str, low: int, high: int) -> str:
    """Cut a text between words, or pad it, to a length that is allowed."""
    if len(text) > high:
        space = text.rfind(" ", 0, high + 1)
        text = text[: space if space >= max(low, 1) else high]
    return text + "…" * (low - len(text))
