"""How money and time are written for people."""

from __future__ import annotations

from decimal import Decimal


def format_usd(amount: Decimal) -> str:
    """Return US dollars with as many decimals as a small amount needs to be seen."""
    if amount == 0 or amount >= 1:
        return f"${amount:,.2f}"
    return f"${amount:.6f}" if amount >= Decimal("0.000001") else "<$0.000001"


def format_seconds(seconds: float) -> str:
    """Return a short time in milliseconds, a longer one in seconds."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
