"""Dollars and integer nano-dollars, exactly."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal

#: The thread's own context may round to a few digits; money does not.
EXACT = Context(prec=60)


def usd_from_nano(nano: int) -> Decimal:
    """Return US dollars, exactly."""
    return Decimal(nano).scaleb(-9, context=EXACT)


def nano_from_usd(usd: Decimal, *, rounding: str = ROUND_HALF_EVEN) -> int:
    """Return nano-dollars; what is finer than a nano-dollar is rounded."""
    scaled = usd.scaleb(9, context=EXACT)
    return int(scaled.to_integral_value(rounding=rounding, context=EXACT))
