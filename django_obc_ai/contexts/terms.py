"""Find words that a community asks others not to use for it, in any text.

The finder knows whole words, phrases and where they stand, and nothing about meaning: it
reports places for a person to look at. It gives no score.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter

_BEFORE = 120
_WORD = re.compile(r"\w[\w'’]*\w|\w")  # noqa: RUF001 - a curly apostrophe
# A letter with a combining accent is one letter, though \w sees two characters.
_NO_LETTER_BEFORE = r"(?<![\w\u0300-\u036f])"
_NO_LETTER_AFTER = r"(?![\w\u0300-\u036f])"
_ADDRESS = re.compile(r"\w+://\S+|\bwww\.\S+|[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_SPACE = r"[\s\u2010-\u2013-]+"
_NEXT_WORD = re.compile(r"\s+(\w+)")
_NAME_GAP = re.compile(r"[ \t]*[\n/&–-]?[ \t]*")  # noqa: RUF001 - an en dash in a name
_OPENING, _CLOSING = "\"'“‘«", "\"'”’»"  # noqa: RUF001 - curly quotes
_MENTION = re.compile(
    r"\b(?:terms?|words?|labels?|labelled|labeled|expressions?|phrases?|called?|calling|say|saying"
    r"|write|instead of|rather than|avoid|never|not|salita|salitang|tawagin)\b[^.!?]*$",
    re.IGNORECASE,
)
_CONNECTORS = frozenset(
    {"and", "at", "for", "in", "mga", "na", "ng", "of", "on", "para", "sa", "the"}
)
_INSTITUTIONS = frozenset(
    """
    act agency alliance assembly association authority board bureau center centre club coalition
    code college commission committee confederation congress convention cooperative council court
    declaration decree department federation foundation inc incorporated institute ministry museum
    office organisation organization program programme project school society tribunal union
    university batas kagawaran kapisanan komisyon samahan tanggapan
    """.split()  # noqa: SIM905 - a list of words is read as prose
)
# After a name at the start of a sentence; an adjective there has its noun next.
_AFTER_NAME = frozenset({"and", "has", "had", "in", "is", "or", "was", "were"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TermFinding:
    """One place in a text that holds a word to avoid.

    Attributes:
        term: The words as they stand in the text.
        start: Index of their first character.
        end: Index after their last character, so that ``text[start:end] == term``.
        reason: Why the words are avoided.
        suggestion: What to write instead.
    """

    term: str
    start: int
    end: int
    reason: str
    suggestion: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TermRule:
    """Words to avoid, and where they are in order.

    Attributes:
        pattern: Regular expression for the words, plurals included; a space in it stands
            for white space or hyphens.
        reason: Why the words are avoided.
        suggestion: What to write instead.
        unless_before: Regular expression for words right before that clear the finding.
        unless_after: The same for words right after.
        is_also_name: Whether the words, capitalised within a sentence, are a proper name.
    """

    pattern: str
    reason: str
    suggestion: str
    unless_before: str = ""
    unless_after: str = ""
    is_also_name: bool = False


class TermFinder:
    """Applies rules to texts; of two rules that match at one place the earlier one wins."""

    def __init__(self, rules: Sequence[TermRule]) -> None:
        """Compile the rules."""
        self._rules = tuple(rules)
        choices = "|".join(f"(?P<r{n}>{_widen(r.pattern)})" for n, r in enumerate(rules))
        self._pattern = _compile(f"{_NO_LETTER_BEFORE}(?:{choices}){_NO_LETTER_AFTER}")
        self._before = [_compile_if(r"\b(?:{})\W{{0,3}}$", rule.unless_before) for rule in rules]
        self._after = [_compile_if(r"\W{{1,3}}(?:{})\b", rule.unless_after) for rule in rules]

    def find(self, text: str) -> list[TermFinding]:
        """Return the findings in the order of the text; they never overlap."""
        names = list(_find_official_names(text))
        addresses = [match.span() for match in _ADDRESS.finditer(text)]
        found = []
        for match in self._pattern.finditer(text):
            start, end = match.span()
            # One named group stands for each rule, and exactly one has matched.
            number = int(str(match.lastgroup)[1:])
            if _is_inside(names, start, end) or _is_inside(addresses, start, end):
                continue
            if self._is_cleared(number, text, start, end):
                continue
            rule = self._rules[number]
            found.append(
                TermFinding(
                    term=match[0],
                    start=start,
                    end=end,
                    reason=rule.reason,
                    suggestion=rule.suggestion,
                )
            )
        return found

    def _is_cleared(self, number: int, text: str, start: int, end: int) -> bool:
        before, after = self._before[number], self._after[number]
        window = text[max(0, start - _BEFORE) : start]
        return (
            bool(before and before.search(window))
            or bool(after and after.match(text, end))
            or _is_mention(window, text[end : end + 2])
            or (self._rules[number].is_also_name and _is_name(text, start, end))
        )


def _compile(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


def _compile_if(around: str, pattern: str) -> re.Pattern[str] | None:
    return _compile(around.format(_widen(pattern))) if pattern else None


def _widen(pattern: str) -> str:
    return pattern.replace(" ", _SPACE)


def _is_inside(spans: Sequence[tuple[int, int]], start: int, end: int) -> bool:
    """Return whether one of the spans, which are sorted and apart, holds the place."""
    number = bisect_right(spans, start, key=itemgetter(0)) - 1
    return number >= 0 and end <= spans[number][1]


def _is_mention(before: str, after: str) -> bool:
    """Return whether the words are quoted in order to talk about them: avoid "tribe"."""
    if before[-1:] not in tuple(_OPENING) or after.strip(",;.")[:1] not in tuple(_CLOSING):
        return False
    return _MENTION.search(before[:-1]) is not None


def _is_name(text: str, start: int, end: int) -> bool:
    """Return whether a single capitalised word is a name: Pagan, Apayao."""
    if not text[start:end].istitle():
        return False
    before = text[max(0, start - _BEFORE) : start].rstrip(" \t\"'“‘(")  # noqa: RUF001 - curly quotes
    if before and before[-1] not in ".!?:\n":
        return True
    follower = _NEXT_WORD.match(text, end)
    return follower is None or not follower[1].islower() or follower[1] in _AFTER_NAME


def _find_official_names(text: str) -> Iterator[tuple[int, int]]:
    """Yield the spans of capitalised names that hold a word such as Commission or Act."""
    run: list[re.Match[str]] = []
    end = 0
    for word in _WORD.finditer(text):
        is_capital = word[0][0].isupper()
        goes_on = is_capital or word[0] in _CONNECTORS
        if run and not (goes_on and _NAME_GAP.fullmatch(text, end, word.start())):
            if _is_official(run):
                yield run[0].start(), run[-1].end()
            run = []
        if is_capital or run:
            run.append(word)
        end = word.end()
    if _is_official(run):
        yield run[0].start(), run[-1].end()


def _is_official(run: Sequence[re.Match[str]]) -> bool:
    names = [word[0] for word in run]
    is_shouted = all(name.isupper() for name in names)
    return not is_shouted and any(name.casefold().rstrip(".") in _INSTITUTIONS for name in names)
