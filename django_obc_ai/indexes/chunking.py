"""Splitting long texts into pieces that a model takes in whole.

A piece ends where the text is cut best: before a heading, after a paragraph, a sentence, a
word. Among equally good places in the second half of what fits, the text itself decides
(content-defined chunking, as in Muthitacharoen, Chen and Mazieres, "A low-bandwidth network
file system", 2001): the place whose following characters have the greatest checksum. So the
same text is cut at the same places whatever stands further above, and an edit changes the
pieces around it alone.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple, TypeAlias

from django_obc_ai.indexes._boundaries import CHARACTER, GLUE, Cut, text_cuts, word_cuts
from django_obc_ai.indexes._structures import code_cuts, markdown_cuts
from django_obc_ai.indexes.text_formats import FORMATS

#: Identity of the rules below; a change rebuilds every index.
CHUNKER = "pieces-v2"
#: So many characters count as a token at least, for words and white space without end.
MAX_CHARACTERS_PER_TOKEN = 16
#: The ways to cut a text, by its format.
_CUTS: dict[str, Callable[[str, int, int], Iterator[Cut]]] = dict(
    zip(FORMATS, (text_cuts, markdown_cuts, code_cuts), strict=True)
)
#: Takes texts and returns how many tokens each has.
Counter: TypeAlias = Callable[[Sequence[str]], Sequence[int]]
#: (start, end) in a text.
Span: TypeAlias = tuple[int, int]

_BATCH = 64
_MARKED = 48  # characters that decide between equal places
_SPACE = re.compile(r"\s")


@dataclass(frozen=True, slots=True, kw_only=True)
class TextSpan:
    """One piece of a text: ``whole[start:end] == text``.

    Attributes:
        text: The piece, without white space at its ends.
        start: Where it begins in the whole text, in characters.
        end: Where it ends, exclusive.
    """

    text: str
    start: int
    end: int


class _Unit(NamedTuple):
    """What is not cut unless it is too long: a sentence with the gap behind it."""

    start: int
    end: int
    strength: int
    cost: int


def count_words(texts: Sequence[str]) -> list[int]:
    """Return how many words each text has; the measure of those who have no tokenizer."""
    return [len(text.split()) for text in texts]


def count_characters(texts: Sequence[str]) -> list[int]:
    """Return how many characters each text has."""
    return [len(text) for text in texts]


def split_text(
    text: str,
    *,
    limit: int,
    count: Counter = count_words,
    overlap: int = 0,
    text_format: str = "text",
) -> list[TextSpan]:
    """Return the pieces of a text in order; together they hold all of it but white space.

    Args:
        text: Any text; only white space gives [].
        limit: Tokens that a piece has at most, at least 1. A single character that has more
            is a piece of its own. A piece has at most 16 characters for each token, too.
        count: Counts tokens. Called with short batches; texts of which each certainly fits
            are not counted. A text has fewer tokens than bytes in NFKD and UTF-8, or as many.
        overlap: Tokens of a piece's end that the next one begins with at most, whole
            sentences where they fit; at most half of the limit.
        text_format: One of `FORMATS`.

    Raises:
        ValueError: limit, overlap or text_format is out of its range.
    """
    if text_format not in _CUTS:
        raise ValueError(f"{text_format!r} is none of {', '.join(_CUTS)}")
    splitter = Splitter(text, limit=limit, count=count, overlap=overlap)
    if not text.strip():
        return []
    return splitter.whole() or splitter.spans(splitter.pack(_CUTS[text_format]))


class Splitter:
    """The splitting of one text."""

    def __init__(self, text: str, *, limit: int, count: Counter, overlap: int) -> None:
        """Take a text and its measure; see `split_text`."""
        if limit < 1 or not 0 <= overlap <= limit // 2:
            raise ValueError(
                f"{limit} tokens with an overlap of {overlap}: at least 1, at most half"
            )
        self._text = text
        self._limit = limit
        self._count = count
        self._overlap = overlap
        self._room = limit - overlap  # what a piece has for itself

    def whole(self) -> list[TextSpan]:
        """Return the text as one piece if it fits; [] if it does not, or is blank."""
        start, end = self._trimmed((0, len(self._text)))
        text = self._text[start:end]
        if not text or len(text) > self._limit * MAX_CHARACTERS_PER_TOKEN:
            return []
        if fits_surely(text, self._limit) or self._costs([(0, len(text))], text)[0] <= self._limit:
            return [TextSpan(text=text, start=start, end=end)]
        return []

    def spans(self, cores: Iterable[Span]) -> list[TextSpan]:
        """Return the pieces that some spans make: trimmed, fitting, overlapping."""
        fitting = self._fitted([each for each in map(self._trimmed, cores) if each[0] < each[1]])
        if self._overlap:
            fitting = self._overlapped(fitting)
        return [TextSpan(text=self._text[a:b], start=a, end=b) for a, b in fitting]

    def pack(self, cuts: Callable[[str, int, int], Iterator[Cut]]) -> Iterator[Span]:
        """Yield spans of at most the room, cut at the best places."""
        units = self._units(cuts(self._text, 0, len(self._text)))
        left: list[_Unit] = []  # taken from the stream and given back, the next one last
        window: list[_Unit] = []
        total = 0
        while (unit := left.pop() if left else next(units, None)) is not None:
            if total + unit.cost <= self._room:
                window.append(unit)
                total += unit.cost
                continue
            place = self._best(window, unit)
            if place:
                yield window[0].start, window[place - 1].end
                left += [unit, *reversed(window[place:])]
            elif parts := self._exploded(unit):
                left += [*reversed(parts), *reversed(window)]
            elif window:  # headings without end, or one before a character that is too much
                yield window[0].start, window[-1].end
                left.append(unit)
            else:
                yield unit.start, unit.end
            window, total = [], 0
        if window:
            yield window[0].start, window[-1].end

    def _best(self, window: Sequence[_Unit], crossing: _Unit) -> int:
        """Return before which unit to cut, counted from 1; 0 if before none."""
        found = earlier = size = 0
        best = (GLUE, 0)
        followers = [*window[1:], crossing] if window else []
        for place, (each, following) in enumerate(zip(window, followers, strict=True), start=1):
            size += each.cost
            if following.strength == GLUE:
                continue
            if 2 * size < self._room:
                earlier = place
            elif following.strength >= best[0]:
                key = (following.strength, self._mark(following.start))
                if key >= best:
                    found, best = place, key
        return found or earlier

    def _mark(self, start: int) -> int:
        return zlib.crc32(self._text[start : start + _MARKED].encode("utf-8", "surrogatepass"))

    def _units(self, cuts: Iterator[Cut]) -> Iterator[_Unit]:
        """Yield what lies between cuts, measured a batch at a time."""
        start, strength = 0, GLUE
        while batch := list(islice(cuts, _BATCH)):
            yield from self._measured([(start, strength), *batch], batch[-1][0])
            start, strength = batch[-1]
        yield from self._measured([(start, strength)], len(self._text))

    def _measured(self, cuts: Sequence[Cut], end: int) -> list[_Unit]:
        cuts = [each for each in cuts if each[0] < end]
        ends = [*(start for start, _ in cuts[1:]), end]
        spans = [(start, stop) for (start, _), stop in zip(cuts, ends, strict=True)]
        return [
            _Unit(start, stop, strength, cost)
            for (start, stop), (_, strength), cost in zip(
                spans, cuts, self._costs(spans, self._text), strict=True
            )
        ]

    def _exploded(self, unit: _Unit) -> list[_Unit]:
        """Return the words of a unit, or the parts of its one word; [] if it is a character.

        No more of them than fill a piece: what is left of the unit stays whole for now.
        """
        end = min(unit.end, unit.start + 2 * self._limit * MAX_CHARACTERS_PER_TOKEN)
        cuts = list(islice(word_cuts(self._text, unit.start, end), self._limit + 1))
        if not cuts:
            width = max(1, min(self._limit // 8, (unit.end - unit.start) // 2))
            ends = range(unit.start + width, end, width)
            places = dict.fromkeys(map(self._whole_character, ends))
            cuts = [(place, CHARACTER) for place in places if place < unit.end]
        if not cuts:
            return []
        return self._measured([(unit.start, unit.strength), *cuts], unit.end)

    def _whole_character(self, place: int) -> int:
        """Move a cut behind accents and what else belongs to the character before it."""
        end = min(len(self._text), place + 16)
        while place < end and _joins(self._text[place], self._text[place - 1]):
            place += 1
        return place

    def _costs(self, spans: Sequence[Span], text: str) -> list[int]:
        """Return what spans of a text take of a piece; what is far too long is not counted."""
        most = self._limit * MAX_CHARACTERS_PER_TOKEN
        short = [text[start:end] for start, end in spans if end - start <= most]
        counts = iter(self._count(short) if short else ())
        costs = []
        for start, end in spans:
            size = end - start
            tokens = next(counts) if size <= most else 0
            costs.append(max(tokens, -(-size // MAX_CHARACTERS_PER_TOKEN)))
        return costs

    def _trimmed(self, span: Span) -> Span:
        part = self._text[span[0] : span[1]]
        start = span[0] + len(part) - len(part.lstrip())
        return start, max(start, span[0] + len(part.rstrip()))

    def _fitted(self, spans: list[Span]) -> list[Span]:
        """Halve what has more tokens together than its units had."""
        fitting: list[Span] = []
        while spans:
            again: list[Span] = []
            for begin in range(0, len(spans), _BATCH):
                part = spans[begin : begin + _BATCH]
                for span, cost in zip(part, self._costs(part, self._text), strict=True):
                    if cost <= self._room or span[1] - span[0] == 1:
                        fitting.append(span)
                    else:
                        again += map(self._trimmed, self._halves(span))
            spans = again
        return sorted(fitting)

    def _halves(self, span: Span) -> list[Span]:
        start, end = span
        middle = (start + end) // 2
        gap = _SPACE.search(self._text, middle, end) or _SPACE.search(self._text, start, middle)
        place = gap.start() if gap else self._whole_character(middle)
        place = place if start < place < end else middle
        return [(start, place), (place, end)]

    def _overlapped(self, spans: Sequence[Span]) -> list[Span]:
        """Let each piece begin with the end of the one before."""
        found = list(spans[:1])
        for start, end in spans[1:]:
            begin = self._overlap_start(max(found[-1][0], start - self._reach), start)
            if begin < start and self._costs([(begin, end)], self._text)[0] > self._limit:
                begin = start
            found.append((begin, end))
        return found

    @property
    def _reach(self) -> int:
        return self._overlap * MAX_CHARACTERS_PER_TOKEN

    def _overlap_start(self, low: int, start: int) -> int:
        """Return where the overlap of a piece begins; ``start`` if there is none."""
        places = [place for place, _ in word_cuts(self._text, low, start)]
        if not places:
            return start
        words = list(zip(places, [*places[1:], start], strict=True))
        size, earliest = 0, start
        for (place, _), cost in reversed(
            list(zip(words, self._costs(words, self._text), strict=True))
        ):
            size += cost
            if size > self._overlap:
                break
            earliest = place
        whole = (place for place, _ in text_cuts(self._text, low, start) if place >= earliest)
        return next(whole, earliest)


def fits_surely(text: str, limit: int) -> bool:
    """Return whether a text has at most so many tokens, without counting them.

    A token is at least a byte of what tokenizers make of a text before they cut it up; that
    is the text in Unicode's compatibility form or less, and a mark at its beginning.
    """
    if len(text) >= limit:
        return False
    return (
        text.isascii()
        or len(unicodedata.normalize("NFKD", text).encode("utf-8", "replace")) < limit
    )


def _joins(character: str, before: str) -> bool:
    is_joiner = character in "\u200d\ufe0e\ufe0f" or "\U0001f3fb" <= character <= "\U0001f3ff"
    return is_joiner or before == "\u200d" or unicodedata.combining(character) > 0
