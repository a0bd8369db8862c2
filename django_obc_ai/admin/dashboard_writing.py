"""Figures of the dashboard as people write them."""

from __future__ import annotations

from decimal import Decimal


def count(number: float | None) -> str:
    """Return a number as people write it."""
    return "-" if number is None else f"{number:,.0f}"


def operations(number: int) -> str:
    """Return how many operations."""
    return f"{number:,} operation{'' if number == 1 else 's'}"


def dollars(nano: float | None) -> str:
    """Return nano-dollars in dollars, small amounts with more digits."""
    if nano is None:
        return "-"
    amount = nano / 1e9
    if amount and abs(amount) < 0.00005:
        return f"${amount:.9f}".rstrip("0")
    return f"${amount:,.2f}" if abs(amount) >= 1 or not amount else f"${amount:,.4f}"


def percent(share: float | None) -> str:
    """Return a share as percent."""
    return "-" if share is None else f"{share * 100:.1f} %"


def seconds(milliseconds: float | None) -> str:
    """Return milliseconds in seconds, or in themselves below one."""
    if milliseconds is None:
        return "-"
    return f"{milliseconds / 1000:,.2f} s" if milliseconds >= 1000 else f"{milliseconds:.0f} ms"


def usd(nano: int) -> Decimal:
    """Return nano-dollars in dollars, exact."""
    return Decimal(nano).scaleb(-9)
