"""Rows as CSV that a spreadsheet only shows, and never computes."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from django_obc_ai.types.chat import QueryResult

#: What makes spreadsheets take a text for a formula, alone or after white space.
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def write_csv(result: QueryResult) -> str:
    """Return the rows with a header line, as text with CRLF line ends.

    Texts that a spreadsheet would take for a formula begin with an apostrophe; numbers stay
    numbers.
    """
    return write_rows(result.labels, result.rows)


def write_rows(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return any rows so; see write_csv()."""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow([_safe(each) for each in header])
    writer.writerows([_safe(each) for each in row] for row in rows)
    return file.getvalue()


def _safe(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
        return value
    text = str(value).replace("\0", "")
    begins = text[:1] in ("\t", "\r", "\n") or text.lstrip().startswith(_FORMULA)
    return f"'{text}" if begins else text
