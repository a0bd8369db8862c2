"""Rows as CSV that a spreadsheet only shows, and never computes."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any

#: What makes spreadsheets take a text for a formula, alone or after white space.
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
#: The same behind what other spreadsheets, by their language, take for the end of a cell.
_INNER = re.compile(rf"([;\t]\s*)(?=[{re.escape(''.join(_FORMULA))}])")


def write_rows(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return the rows with a header line, as text with CRLF line ends.

    Texts that a spreadsheet would take for a formula begin with an apostrophe, and so does what
    follows a semicolon or a tab, where cells end in other languages; numbers stay numbers.
    """
    return "".join(write_parts(header, [rows]))


def write_parts(header: Sequence[str], parts: Iterable[Iterable[Sequence[Any]]]) -> Iterator[str]:
    """Yield the same text in pieces: the header line, then each part of the rows."""
    yield write_lines([header])
    for rows in parts:
        yield write_lines(rows)


def write_lines(rows: Iterable[Sequence[Any]]) -> str:
    """Return rows as lines without a header; see write_rows()."""
    file = io.StringIO()
    csv.writer(file).writerows([_safe(each) for each in row] for row in rows)
    return file.getvalue()


def _safe(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
        return value
    text = str(value).replace("\0", "")
    rest = text.lstrip()
    begins = text[:1] in ("\t", "\r", "\n") or rest.startswith(_FORMULA)
    text = text[: len(text) - len(rest)] + _INNER.sub(r"\1'", rest)
    return f"'{text}" if begins else text
