"""Model fields of the package."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.lookups import IntegerGreaterThanOrEqual, IntegerLessThan

from django_obc_ai.types import nano_from_usd, usd_from_nano

#: Of columns that keep who did something, by name, also when that user is gone.
NAME_LENGTH = 150

if TYPE_CHECKING:
    # Generic in the stubs only: what may be assigned, and what is read.
    _IntegerField = models.BigIntegerField[Decimal | int, Decimal]
else:
    _IntegerField = models.BigIntegerField

_MOST = usd_from_nano(models.BigIntegerField.MAX_BIGINT)


class NanoDollarField(_IntegerField):
    """US dollars as ``Decimal`` in Python and as integer nano-dollars in the database.

    Sums are integer sums on every database; SQLite would add a DecimalField through
    floats. The range is about plus or minus 9.2 billion dollars.

    Django counts the results of ``Avg`` and of arithmetic as plain numbers, here of
    nano-dollars. Name the field as their ``output_field``, also that of a ``Value``, to
    stay in dollars.
    """

    description = "US dollars, exact to the nano-dollar"
    # In dollars; those that Django derives from the column would be in nano-dollars.
    default_validators = [MinValueValidator(-_MOST), MaxValueValidator(_MOST)]

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
            amount = Decimal(value)
        except (ArithmeticError, TypeError, ValueError) as error:
            raise ValidationError("Not a dollar amount.", code="invalid") from error
        if not amount.is_finite():
            raise ValidationError("Not a dollar amount.", code="invalid")
        return amount

    def get_prep_value(self, value: Any) -> Any:
        """Turn dollars into nano-dollars; expressions pass unchanged."""
        if value is None or hasattr(value, "resolve_expression"):
            return value
        amount = self.to_python(value)
        return None if amount is None else nano_from_usd(amount)

    def formfield(self, **kwargs: Any) -> Any:
        """Ask for dollars with nine decimal places."""
        money = {"form_class": forms.DecimalField, "max_digits": 19, "decimal_places": 9}
        return super().formfield(**{**money, "min_value": -_MOST, "max_value": _MOST, **kwargs})


class _RefusesFloats:
    """Takes the place of a lookup that rounds floats up to whole numbers, here dollars."""

    rhs: Any

    def get_prep_lookup(self) -> Any:
        if isinstance(self.rhs, float):
            raise ValidationError("Money is Decimal, never float.", code="float")
        return super().get_prep_lookup()  # type: ignore[misc]  # of the lookup beside it


@NanoDollarField.register_lookup
class _GreaterThanOrEqual(_RefusesFloats, IntegerGreaterThanOrEqual):
    pass


@NanoDollarField.register_lookup
class _LessThan(_RefusesFloats, IntegerLessThan):
    pass
