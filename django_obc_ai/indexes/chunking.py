"""Splitting long texts at paragraphs, then sentences, then words."""

from __future__ import annotations

import re

MAX_CHUNK_CHARACTERS = 2_000
#: Identity of the rules below; a change rebuilds every index.
CHUNKER = "paragraphs-v1"
_BOUNDARIES = (re.compile(r"\n\s*\n"), re.compile(r"(?<=[.!?])\s+|\n"), re.compile(r"\s+"))


def split_text(text: str, limit: int = MAX_CHUNK_CHARACTERS) -> list[str]:
    """Return pieces of at most ``limit`` characters that together hold the whole text.

    Paragraphs stay together where they fit, then sentences, then words; a single longer
    word is cut. Runs of white space at a cut are dropped, as is white space at the ends.

    Args:
        text: Any text; only white space gives [].
        limit: At least 1.
    """
    text = text.strip()
    return _split(text, limit, 0) if text else []


def _split(text: str, limit: int, level: int) -> list[str]:
    text = text.strip()  # a part ends at its boundary, spaces beside it included
    if len(text) <= limit:
        return [text]
    if level == len(_BOUNDARIES):
        return [text[start : start + limit] for start in range(0, len(text), limit)]
    pieces: list[str] = []
    start = end = 0  # the span collected so far
    for part_start, part_end in _parts(text, level):
        if end > start and part_end - start > limit:
            pieces += _split(text[start:end], limit, level + 1)
            start = part_start
        end = part_end
    pieces += _split(text[start:end], limit, level + 1)
    return pieces


def _parts(text: str, level: int) -> list[tuple[int, int]]:
    parts, start = [], 0
    for match in _BOUNDARIES[level].finditer(text):
        if match.start() > start:
            parts.append((start, match.start()))
        start = match.end()
    if start < len(text):
        parts.append((start, len(text)))
    return parts
