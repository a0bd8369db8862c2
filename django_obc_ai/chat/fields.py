"""Fields by kind: which lookups suit them, and values of exactly their type."""

from __future__ import annotations

import datetime
import re
import uuid
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Literal

from django.conf import settings
from django.db import models
from django.utils import timezone

from django_obc_ai.exceptions import DangerousQuery

Kind = Literal["text", "number", "boolean", "date", "datetime", "uuid", "choice"]
MAX_TEXT = 200
MAX_LIST = 100
_LARGEST = 2**63
_DAY = datetime.timedelta(days=1)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DECIMAL = re.compile(r"-?[0-9]{1,19}(?:\.[0-9]{1,20})?")
_ORDER = ("exact", "in", "isnull", "lt", "lte", "gt", "gte", "range")
#: Never among them: regular expressions, which may take for ever, and transforms of JSON.
LOOKUPS: Mapping[Kind, tuple[str, ...]] = {
    "text": (
        "exact", "iexact", "contains", "icontains", "startswith", "istartswith", "endswith",
        "iendswith", "in", "isnull",
    ),
    "number": _ORDER,
    "boolean": ("exact", "isnull"),
    "date": (*_ORDER, "year", "month"),
    "datetime": (*_ORDER, "year", "month"),
    "uuid": ("exact", "in", "isnull"),
    "choice": ("exact", "in", "isnull"),
}  # fmt: skip


def kind_of(field: Any) -> Kind | None:
    """Return the kind of a model's field; None for fields that chat does not handle."""
    if not getattr(field, "concrete", False) or field.is_relation:
        return None
    if field.flatchoices:
        return "choice"
    found: list[tuple[Kind, Any]] = [
        ("boolean", models.BooleanField),
        ("uuid", models.UUIDField),
        ("datetime", models.DateTimeField),  # before its base
        ("date", models.DateField),
        ("number", (models.IntegerField, models.FloatField, models.DecimalField)),
        ("text", (models.CharField, models.TextField)),
    ]
    if isinstance(field, models.FileField):
        return None
    return next((kind for kind, classes in found if isinstance(field, classes)), None)


def typed(field: Any, lookup: str, value: Any, where: str) -> Any:
    """Return a value in the type that a lookup of a field takes.

    Raises:
        DangerousQuery: It is of another type, too long, or out of range.
    """
    kind = kind_of(field)
    if lookup == "isnull":
        return _boolean(value, where)
    if lookup in ("year", "month"):
        return _whole(value, where, 2 if lookup == "year" else 1, 9998 if lookup == "year" else 12)
    if lookup in ("in", "range"):
        if type(value) not in (list, tuple):
            raise DangerousQuery(f"{where} wants a list of values.")
        if not 1 <= len(value) <= MAX_LIST or (lookup == "range" and len(value) != 2):
            wanted = "2 values" if lookup == "range" else f"1 to {MAX_LIST} values"
            raise DangerousQuery(f"{where} wants {wanted}.")
        return tuple(_single(kind, field, each, where) for each in value)
    return _single(kind, field, value, where)


def _single(kind: Kind | None, field: Any, value: Any, where: str) -> Any:
    if kind == "choice":
        return _choice(field, value, where)
    if kind == "number":
        return _number(field, value, where)
    readers: dict[Any, Callable[[Any, str], Any]] = {
        "text": text_of,
        "boolean": _boolean,
        "date": _date,
        "datetime": _datetime,
        "uuid": _uuid,
    }
    return readers[kind](value, where)


def text_of(value: Any, where: str, most: int = MAX_TEXT) -> str:
    """Return a text that any database takes.

    Raises:
        DangerousQuery: It is none, too long, or holds what is no character.
    """
    if type(value) is not str:
        raise DangerousQuery(f"{where} is no text.")
    if len(value) > most:
        raise DangerousQuery(f"{where} has more than {most} characters.")
    if "\x00" in value or any("\ud800" <= each <= "\udfff" for each in value):
        raise DangerousQuery(f"{where} holds a character that is none.")
    return value


def _boolean(value: Any, where: str) -> bool:
    if type(value) is not bool:
        raise DangerousQuery(f"{where} is neither true nor false.")
    return value


def _whole(value: Any, where: str, least: int, most: int) -> int:
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int or not least <= value <= most:
        raise DangerousQuery(f"{where} is no whole number from {least} to {most}.")
    return value


def _number(field: Any, value: Any, where: str) -> int | float | Decimal:
    if isinstance(field, models.IntegerField):
        return _whole(value, where, -_LARGEST, _LARGEST - 1)
    is_decimal = isinstance(field, models.DecimalField)
    if type(value) in (int, float) and -_LARGEST < value < _LARGEST:  # neither NaN is
        if not is_decimal:
            return float(value)
        value = format(Decimal(str(value)), "f")
    if not (is_decimal and type(value) is str and _DECIMAL.fullmatch(value)):
        raise DangerousQuery(f"{where} is no number.")
    return Decimal(value)


def _date(value: Any, where: str) -> datetime.date:
    text = text_of(value, where, 40).removesuffix("T00:00:00")
    try:
        if _DATE.fullmatch(text):
            return datetime.date.fromisoformat(text)
    except ValueError:
        pass
    raise DangerousQuery(f'{where} is no date; dates are "2026-01-31".')


def _datetime(value: Any, where: str) -> datetime.datetime:
    try:
        found = datetime.datetime.fromisoformat(text_of(value, where, 40))
        aware = timezone.make_aware(found) if timezone.is_naive(found) else found
        for each in (-_DAY, _DAY):  # it must stay a time in any zone that a database keeps
            aware.astimezone(datetime.UTC) + each
        return aware if settings.USE_TZ else timezone.make_naive(aware)
    except (ValueError, OverflowError):
        raise DangerousQuery(f'{where} is no time; times are "2026-01-31T08:00".') from None


def _uuid(value: Any, where: str) -> uuid.UUID:
    try:
        return uuid.UUID(text_of(value, where, 40))
    except ValueError:
        raise DangerousQuery(f"{where} is no UUID.") from None


def _choice(field: Any, value: Any, where: str) -> Any:
    if type(value) is str:
        text_of(value, where)
    elif type(value) is not bool and (type(value) is not int or abs(value) >= _LARGEST):
        raise DangerousQuery(f"{where} is none of the choices.")
    for stored, _ in field.flatchoices:
        if type(stored) in (str, int, bool) and type(stored) is type(value) and stored == value:
            return stored
    wanted = str(value).casefold()
    for stored, label in field.flatchoices:
        if wanted in (str(stored).casefold(), str(label).casefold()):
            return stored
    raise DangerousQuery(f"{where} is none of the choices.")
