"""Reading a provider's billing export: a CSV file with a day, a model and a cost a line."""

from __future__ import annotations

import csv
import datetime
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import TextIO

#: Column names, made plain, by what they hold; the first that a file has is taken.
COLUMNS = {
    "day": (
        "day", "date", "usage_date", "usage_start_date", "usage_start_time", "start_time",
        "start_date",
    ),
    "model": ("model", "model_id", "model_name", "sku_description", "sku", "line_item"),
    "cost": (
        "cost_usd", "amount_usd", "unrounded_cost", "unrounded_cost_usd", "cost",
        "amount", "amount_value", "subtotal", "total",
    ),
    "currency": ("currency", "amount_currency", "currency_code"),
}  # fmt: skip
_DAY_FORMATS = ("%Y-%m-%d", "%Y/%m/%d", "%m/%d/%Y", "%Y%m%d")


class ExportError(ValueError):
    """The file is no billing export that can be read; the message says which line and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BilledRow:
    """What a provider billed for one model on one day.

    Attributes:
        day: In the time zone of the export.
        model: A model of the ledger's if the line names one, else the line's own text.
        cost_usd: US dollars; credits are negative.
    """

    day: datetime.date
    model: str
    cost_usd: Decimal


def read_export(file: TextIO, models: Collection[str]) -> list[BilledRow]:
    """Read a whole export.

    Header names are matched without regard to case, blanks and signs; see `COLUMNS`. Lines
    without a day and a model, such as totals, are passed over. A model may stand in a longer
    text ("Generate content output token count gemini 2.5 flash"); the longest known name counts.

    Args:
        file: Text, opened with ``newline=""``.
        models: Names that the ledger knows.

    Raises:
        ExportError: A column is missing, or a line cannot be read or is not in US dollars.
    """
    lines = csv.reader(file)
    header = [_plain(name) for name in next(lines, [])]
    places = {what: _place(header, names) for what, names in COLUMNS.items()}
    for what in ("day", "model", "cost"):
        if places[what] is None:
            raise ExportError(
                f"The export has no column for the {what}; it may be called:"
                f" {', '.join(COLUMNS[what])}."
            )
    return list(_rows(lines, places, models))


def _rows(
    lines: Iterable[list[str]], places: dict[str, int | None], models: Collection[str]
) -> Iterator[BilledRow]:
    for number, line in enumerate(lines, start=2):
        found = {
            what: line[place].strip() if place is not None and place < len(line) else ""
            for what, place in places.items()
        }
        if not found["day"] or not found["model"]:
            continue
        if found["currency"].upper() not in ("", "USD"):
            raise ExportError(f"Line {number} of the export is not in US dollars.")
        yield BilledRow(
            day=_day(found["day"], number),
            model=model_in(found["model"], models),
            cost_usd=_money(found["cost"], number),
        )


def model_in(text: str, models: Collection[str]) -> str:
    """Return the longest known model that a text names, else the text."""
    name = text.removeprefix("models/")
    if name in models:
        return name
    words = _words(text)
    named = [each for each in models if _holds(words, _words(each))]
    return max(named, key=len) if named else text


def _holds(words: list[str], wanted: list[str]) -> bool:
    size = len(wanted)
    return size > 0 and any(words[at : at + size] == wanted for at in range(len(words)))


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


def _plain(name: str) -> str:
    return "_".join(_words(name.replace("\ufeff", "")))


def _place(header: list[str], names: Iterable[str]) -> int | None:
    return next((header.index(name) for name in names if name in header), None)


def _day(text: str, number: int) -> datetime.date:
    for form in _DAY_FORMATS:
        try:
            return datetime.datetime.strptime(text[:10] if "-" in text else text, form).date()  # noqa: DTZ007 - a date
        except ValueError:
            continue
    raise ExportError(f"Line {number} of the export has no day such as 2026-11-30.")


def _money(text: str, number: int) -> Decimal:
    try:
        amount = Decimal(text.replace("$", "").replace(",", "").strip() or "0")
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite():
        raise ExportError(f"Line {number} of the export has no amount such as 12.34.")
    return amount
