"""Where Markdown and program text may be cut: at headings, blocks, blank lines and indents."""

from __future__ import annotations

import re
from collections.abc import Iterator

from django_obc_ai.indexes._boundaries import (
    GLUE,
    HEADING,
    ITEM,
    LINE,
    PARAGRAPH,
    ROW,
    SENTENCE_AND_LINE,
    Cut,
    text_cuts,
)

# Each is matched against the first characters of a line alone.
_HEAD = 240
_FENCE = re.compile(r"[ \t]*(?:[-*+>][ \t]*)?(`{3,}|~{3,})")
_HEADING = re.compile(r" {0,3}(#{1,6})(?:[ \t]|$)")
_UNDERLINE = re.compile(r" {0,3}(?:(=+)|-+)[ \t]*$")
_ITEM = re.compile(r"[ \t>]*(?:[-*+]|\d{1,9}[.)])[ \t]")
_ROW = re.compile(r"[ \t>]*\|")
_CLOSING = re.compile(r"[ \t]*(?:[)\]}]|(?:else|elif|except|finally|catch|end|fi|done)\b)")
_LEADING = re.compile(r"[ \t]*")
_DEEPEST = 14


def markdown_cuts(text: str, start: int, end: int) -> Iterator[Cut]:
    """Yield where Markdown's blocks begin, and sentences inside its paragraphs, rising.

    A heading and what it heads are glued together. Fences and tables are cut between lines
    only, and after everything else.
    """
    reader = _Markdown(text, end)
    for line_start, line_end in _lines(text, start, end):
        for cut in reader.read(line_start, line_end):
            if cut[0] > start:
                yield cut
    for cut in reader.flush(end):
        if cut[0] > start:
            yield cut


class _Markdown:
    """What stands between one line and the next: an open fence, an open paragraph."""

    def __init__(self, text: str, end: int) -> None:
        self._text = text
        self._fence = ""
        self._is_after_heading = False
        self._is_after_blank = False
        self._is_in_table = False
        self._open: Cut | None = None  # the paragraph that may still turn out to be a heading

    def read(self, start: int, end: int) -> Iterator[Cut]:
        """Take one line and yield the cuts that are known now."""
        head = self._text[start : min(end, start + _HEAD)]
        if self._fence:
            yield start, ROW
            if (found := _FENCE.match(head)) and found[1].startswith(self._fence):
                self._fence, self._is_after_blank = "", True
        elif not head.strip():
            # A line of spaces alone that is longer than the head is none; text stays text.
            yield from self.flush(start)
            self._is_after_blank = True
        elif found := _FENCE.match(head):
            yield from self.flush(start)
            yield start, self._block()
            self._fence = found[1]
        elif found := _HEADING.match(head):
            yield from self.flush(start)
            rank = len(found[1])
            yield start, GLUE if self._is_after_heading else HEADING + 10 * (6 - rank)
            self._settle()
            self._is_after_heading = True
        elif self._open is not None and (found := _UNDERLINE.match(head)) and end - start < _HEAD:
            place, strength = self._open
            rank = 1 if found[1] else 2
            self._open = place, GLUE if strength == GLUE else HEADING + 10 * (6 - rank)
            yield from self.flush(start)
            self._is_after_heading = True
        else:
            yield from self._read_text(start, head)

    def _read_text(self, start: int, head: str) -> Iterator[Cut]:
        is_row = _ROW.match(head) is not None
        if is_row and self._is_in_table and not self._is_after_blank:
            yield start, ROW
        elif is_row or _ITEM.match(head):
            yield from self.flush(start)
            self._open = start, self._block()
        elif self._open is None:
            self._open = start, self._block()
        if is_row and self._open is not None:
            yield from self.flush(start)
        self._is_in_table = is_row

    def flush(self, end: int) -> Iterator[Cut]:
        """Yield the beginning of the open paragraph and its sentences."""
        if self._open is None:
            return
        start, strength = self._open
        self._open = None
        yield start, strength
        for place, inner in text_cuts(self._text, start, end):
            yield place, min(inner, SENTENCE_AND_LINE)

    def _block(self) -> int:
        """Return how well the text may be cut before the block that begins now."""
        strength = PARAGRAPH if self._is_after_blank else ITEM
        strength = GLUE if self._is_after_heading else strength
        self._settle()
        return strength

    def _settle(self) -> None:
        self._is_after_heading = self._is_after_blank = self._is_in_table = False


def code_cuts(text: str, start: int, end: int) -> Iterator[Cut]:
    """Yield where lines of program text begin, rising; blank lines and small indents are best.

    Right for every language whose people indent. Lines that only close a block, or go on
    with it, stay with it.
    """
    is_after_blank = False
    for line_start, line_end in _lines(text, start, end):
        head = text[line_start : min(line_end, line_start + _HEAD)]
        if not head.strip():
            is_after_blank = True
            continue
        depth = min(len(_LEADING.match(head)[0].expandtabs(4)) // 2, _DEEPEST)  # type: ignore[index] # always matches
        if _CLOSING.match(head):
            strength = ROW
        else:
            strength = (PARAGRAPH if is_after_blank else LINE + _DEEPEST) - depth
        if line_start > start:
            yield line_start, strength
        is_after_blank = False


def _lines(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield where lines begin and end, without their line breaks."""
    while start < end:
        found = text.find("\n", start, end)
        stop = end if found < 0 else found
        yield start, stop
        start = stop + 1
