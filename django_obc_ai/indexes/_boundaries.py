"""Where a text may be cut, and how well: paragraphs, lines, sentences, clauses, words.

Everything here looks at one gap between two words after another, and at a bounded number of
characters around it, so it takes linear time whatever the text is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypeAlias

#: (position, strength) of a place to cut; a piece may begin there.
Cut: TypeAlias = tuple[int, int]

#: Strengths: of two cuts that fit, the greater one is taken.
GLUE = 0  # never, as long as there is any other way: a heading and what it heads
CHARACTER = 1
WORD = 10
CLAUSE = 12
ROW = 15  # of a table, or a line of a fence
LINE = 20
SENTENCE = 30
SENTENCE_AND_LINE = 35
ITEM = 40
PARAGRAPH = 50
HEADING = 60  # and 10 more for each rank above the sixth

_GAP = re.compile(r"\s+|[。！？｡](?=\S)")
_SPACE = re.compile(r"\s+")
_CLOSERS = frozenset("\"'”’»)]}*_」』）")
_OPENERS = frozenset("\"'“‘«([{*_¿¡「『（")
#: These end a sentence whatever follows; . ! ? and … do where no small letter follows.
_FINAL = frozenset("。！？｡؟۔।॥")
_TERMINATORS = _FINAL | frozenset(".!?…")
#: Before names and such, in English and Filipino.
_TITLES = frozenset(
    "mr mrs ms dr dra prof hon atty engr arch gov sen rep sec usec asec dir gen col maj capt lt sgt"
    " insp supt gng bb rev fr sr st sta sto mt brgy bgy mun dept univ phil vs cf eg ie ca approx"
    " jan feb mar apr jun jul aug sept oct nov dec ene peb abr hun hul ago set okt nob dis".split()
)
#: Before numbers alone: "No. 11054" goes on, "He said no. Then" does not.
_NUMBERED = frozenset("no nos blg bil art arts par p pp pg vol fig ch tel r.a ra rm sek".split())
_WORD_LENGTH = 12  # longer words are no abbreviations
_CLOSERS_LENGTH = 8


def text_cuts(text: str, start: int, end: int) -> Iterator[Cut]:
    """Yield the ends of paragraphs, lines and sentences inside a span, rising."""
    for gap in _GAP.finditer(text, start, end):
        if gap.start() == start or gap.end() == end:
            continue
        strength = _strength_of(text, gap.start(), gap.end())
        if strength > CLAUSE:
            yield gap.end(), strength


def word_cuts(text: str, start: int, end: int) -> Iterator[Cut]:
    """Yield the beginnings of all words but the first inside a span, rising."""
    for gap in _SPACE.finditer(text, start, end):
        if gap.start() > start and gap.end() < end:
            yield gap.end(), CLAUSE if text[gap.start() - 1] in ",;:—–" else WORD


def _strength_of(text: str, start: int, end: int) -> int:
    if not text[start].isspace():  # a full stop of a script that writes no spaces
        return WORD if text[end] in _CLOSERS else SENTENCE
    lines = text.count("\n", start, end) or text.count("\r", start, end)
    if lines > 1 or text.find("\u2029", start, end) >= 0 or text.find("\f", start, end) >= 0:
        return PARAGRAPH
    is_end = _ends_sentence(text, start, end)
    if lines:
        return SENTENCE_AND_LINE if is_end else LINE
    return SENTENCE if is_end else WORD


def _ends_sentence(text: str, at: int, after: int) -> bool:
    """Return whether the word before a gap ends a sentence."""
    end = at
    while end > max(0, at - _CLOSERS_LENGTH) and text[end - 1] in _CLOSERS:
        end -= 1
    last = text[end - 1 : end]
    if last not in _TERMINATORS:
        return False
    if last in _FINAL:
        return True
    while after < min(len(text), at + _CLOSERS_LENGTH) and text[after] in _OPENERS:
        after += 1
    following = text[after : after + 1]
    if following.islower():
        return False
    return last != "." or not _is_shortened(text, end - 1, following)


def _is_shortened(text: str, end: int, following: str) -> bool:
    """Return whether a full stop belongs to the word before it, "Dr." or "1." in a list."""
    start = end
    while start > max(0, end - _WORD_LENGTH) and (
        text[start - 1].isalnum() or text[start - 1] == "."
    ):
        start -= 1
    word = text[start:end].casefold()
    if not word or word.endswith("."):  # an ellipsis, or a closing bracket before it
        return False
    if word.isdigit():
        is_first = start == 0 or text[start - 1] in "\r\n"
        return is_first and len(word) <= 3
    if word in _NUMBERED:
        return following.isdigit()
    initials = word.split(".")
    return word in _TITLES or all(len(each) == 1 and each.isalpha() for each in initials)
