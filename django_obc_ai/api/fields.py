"""Fields that take exactly what the schema says, whatever the project sets for its own API.

Those of the framework are lenient: 5 for "5", true for a key. An error of the client is better
told than guessed away.
"""

from __future__ import annotations

import datetime
import math
import re
import uuid
from decimal import Decimal
from typing import Any

from django.utils import timezone
from django.utils.duration import duration_iso_string
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field, extend_schema_serializer
from rest_framework import serializers

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_NANO = Decimal("1e-9")


@extend_schema_serializer(extensions={"x-strict": True})  # see make_schema()
class Strict(serializers.Serializer[Any]):
    """Refuses what it does not know, so that no typing error goes unnoticed."""

    def to_internal_value(self, data: Any) -> Any:
        """Return the values.

        Raises:
            ValidationError: One does not fit, or has no such field.
        """
        unknown = sorted(set(data) - set(self.fields)) if isinstance(data, dict) else []
        if unknown:
            known = ", ".join(self.fields)
            message = f"There is no such field. There are: {known}."
            raise serializers.ValidationError({str(name): [message] for name in unknown})
        return super().to_internal_value(data)


class Text(serializers.CharField):
    """Text, and no number; without the character NUL, which databases refuse."""

    def __init__(self, **arguments: Any) -> None:
        """Let the schema say what is refused as blank."""
        if not arguments.get("allow_blank"):
            arguments.setdefault("min_length", 1)
        super().__init__(**arguments)

    @property
    def pattern(self) -> str:
        """Return what it matches, for the schema; as a check it would be slow."""
        if self.allow_blank:
            return r"^[^\u0000]*$"
        return r"^[^\u0000]*[^\s\u0000][^\u0000]*$" if self.trim_whitespace else r"^[^\u0000]+$"

    def to_internal_value(self, data: Any) -> str:
        """Return the text."""
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class WholeNumber(serializers.IntegerField):
    """A whole number, as JSON writes it."""

    def to_internal_value(self, data: Any) -> int:
        """Return the number; for JSON 5.0 is one."""
        if isinstance(data, float) and data.is_integer():
            data = int(data)
        if isinstance(data, bool) or not isinstance(data, int):
            self.fail("invalid")
        return super().to_internal_value(data)


class Number(serializers.FloatField):
    """A finite number, as JSON writes it."""

    def to_internal_value(self, data: Any) -> float:
        """Return the number."""
        if isinstance(data, bool) or not isinstance(data, int | float):
            self.fail("invalid")
        value = super().to_internal_value(data)
        if not math.isfinite(value):
            self.fail("invalid")
        return value


class Key(serializers.UUIDField):
    """A key, as text."""

    def to_internal_value(self, data: Any) -> uuid.UUID:
        """Return the key."""
        if not isinstance(data, str | uuid.UUID):
            self.fail("invalid", value=data)
        return super().to_internal_value(data)


class Day(serializers.DateField):
    """A date, written 2026-11-29."""

    def __init__(self, **arguments: Any) -> None:
        """Name the one format."""
        super().__init__(format="iso-8601", input_formats=["iso-8601"], **arguments)

    def to_internal_value(self, value: Any) -> datetime.date:
        """Return the date."""
        if isinstance(value, str) and not _DAY.fullmatch(value):
            self.fail("invalid", format="YYYY-MM-DD")
        return super().to_internal_value(value)


class Moment(serializers.DateTimeField):
    """A moment in UTC, also where the project's own times have no zone."""

    def to_representation(self, value: datetime.datetime) -> str:
        """Return it as ISO 8601 writes it."""
        aware = timezone.make_aware(value) if timezone.is_naive(value) else value
        return aware.astimezone(datetime.UTC).isoformat().replace("+00:00", "Z")


@extend_schema_field({"type": "string", "format": "date", "pattern": r"^2[0-9]{3}-[0-9]{2}-"})
class AskedDay(Day):
    """A date of this millennium."""


@extend_schema_field({"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$", "example": "0.004"})
class Dollars(serializers.Field[Decimal, Any, str, Any]):
    """An amount as text, since numbers of JSON are rounded by many."""

    def to_representation(self, value: Decimal) -> str:
        """Return it without an exponent."""
        return f"{value.quantize(_NANO).normalize():f}" if value else "0"


@extend_schema_field(OpenApiTypes.ANY)
class Cell(serializers.Field[Any, Any, Any, Any]):
    """A value of the database, as JSON has it; what it has no word for becomes text, or null."""

    def to_representation(self, value: Any) -> Any:
        """Return the value."""
        if isinstance(value, float):
            return value if math.isfinite(value) else None
        if value is None or isinstance(value, bool | int | str):
            return value
        if isinstance(value, datetime.datetime):
            return Moment().to_representation(value)
        if isinstance(value, datetime.date | datetime.time):
            return value.isoformat()
        if isinstance(value, datetime.timedelta):
            return duration_iso_string(value)
        return str(value)
