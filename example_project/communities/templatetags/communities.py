"""Filters of the communities templates."""

from __future__ import annotations

from django import template

from communities.formatting import format_seconds, format_usd

register = template.Library()
register.filter("usd", format_usd)
register.filter("seconds", format_seconds)


@register.filter
def share(value: float, whole: float) -> int:
    """Return a value as whole percents of another, 0 if there is nothing to divide by."""
    return round(100 * value / whole) if whole else 0
