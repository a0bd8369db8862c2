"""Values of rows as people read them, in their language and time zone."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal
from typing import Any, TypeGuard

from django.utils import timezone
from django.utils.formats import date_format, number_format, time_format
from django.utils.translation import pgettext

_NOTHING = "\u2013"
_PLACES = 2


def is_number(value: Any) -> TypeGuard[int | float | Decimal]:
    """Return whether a value is a number that can be drawn; true and false are none."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return False
    try:
        return abs(float(value)) < float("inf")  # neither endless nor "not a number"
    except OverflowError:
        return False


def show_value(value: Any, *, is_figure: bool = False) -> str:
    """Return a value as text.

    Args:
        value: Plain Python, as a row of a result holds it.
        is_figure: Whether it was calculated. Then its thousands are set apart; a stored number
            may as well be a year or a code.
    """
    if value is None or value == "":
        return _NOTHING
    if isinstance(value, bool):
        yes, no = pgettext("django_obc_ai chat", "Yes"), pgettext("django_obc_ai chat", "No")
        return yes if value else no
    if is_number(value):
        return _show_number(value, is_figure=is_figure)
    if isinstance(value, datetime.datetime):
        local = timezone.localtime(value) if timezone.is_aware(value) else value
        return date_format(local, "SHORT_DATETIME_FORMAT")
    if isinstance(value, datetime.date):
        return date_format(value, "DATE_FORMAT")
    if isinstance(value, datetime.time):
        return time_format(value)
    if isinstance(value, dict | list | tuple):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def _show_number(value: float | Decimal, *, is_figure: bool) -> str:
    places = None
    if not isinstance(value, int):
        exact = Decimal(str(value))
        is_whole = exact == exact.to_integral_value()
        written = "" if is_whole else format(exact, "f").rstrip("0").rpartition(".")[2]
        if is_figure or isinstance(value, float) or len(written) > 2 * _PLACES:
            # A small share would be nought with two places.
            places = 0 if is_whole else _PLACES if abs(exact) >= 1 else 2 * _PLACES
            value = round(exact, places)  # number_format() only cuts
    return number_format(value, decimal_pos=places, use_l10n=True, force_grouping=is_figure)
