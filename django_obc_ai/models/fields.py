"""Model fields of the package."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.db import models

from django_obc_ai.types import nano_from_usd, usd_from_nano

if TYPE_CHECKING:
    # Generic in the stubs only: what may be assigned, and what is read.
    _IntegerField = models.BigIntegerField[Decimal | int, Decimal]
else:
    _IntegerField = models.BigIntegerField


class NanoDollarField(_IntegerField):
    """US dollars as ``Decimal`` in Python and as integer nano-dollars in the database.

    Sums are integer sums on every database; SQLite would add a DecimalField through
    floats. The range is about plus or minus 9.2 billion dollars.
    """

    description = "US dollars, exact to the nano-dollar"

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Decimal | None:
        """Turn nano-dollars into dollars; called for columns and for sums of them."""
        return None if value is None else usd_from_nano(int(value))

    def to_python(self, value: Any) -> Decimal | None:
        """Accept Decimal, int and decimal strings; refuse floats.

        Raises:
            ValidationError: The value is no exact amount.
        """
        if value is None:
            return None
        if isinstance(value, float):
            raise ValidationError("Money is Decimal, never float.", code="float")
        try:
            return Decimal(value)
        except (ArithmeticError, TypeError, ValueError) as error:
            raise ValidationError("Not a dollar amount.", code="invalid") from error

    def get_prep_value(self, value: Any) -> Any:
        """Turn dollars into nano-dollars; expressions pass unchanged."""
        if value is None or hasattr(value, "resolve_expression"):
            return value
        amount = self.to_python(value)
        return None if amount is None else nano_from_usd(amount)
