"""What tokens cost: dated prices, exact to the nano-dollar.

Prices come from ``OBC_AI["PRICES"]``. A model without a price is never free: its cost
is unknown (``cost_known=False``), and under an enforced budget it is refused.
"""

from __future__ import annotations

import datetime
from decimal import ROUND_CEILING, Decimal, localcontext

from django_obc_ai.backends.providers.base import BaseProvider
from django_obc_ai.conf import get_settings
from django_obc_ai.types import GenerationRequest, PriceRow, Usage, nano_from_usd, usd_from_nano
from django_obc_ai.types.money import EXACT

_PER_MILLION = Decimal(1_000_000)


def find_price(model: str, at: datetime.datetime) -> PriceRow | None:
    """Return the price of a model at a time, or None if none is known.

    Args:
        model: The provider's name, with or without a "models/" prefix.
        at: Aware; its UTC day selects the row.
    """
    name = model.removeprefix("models/")
    day = at.astimezone(datetime.UTC).date()
    rows = [
        row
        for row in get_settings().prices
        if row.model == name and (row.effective_from is None or row.effective_from <= day)
    ]
    return max(rows, key=lambda row: row.effective_from or datetime.date.min, default=None)


def cost_of(price: PriceRow, usage: Usage) -> Decimal:
    """Return the cost of one answer in US dollars, rounded once, to the nano-dollar.

    ((input - cached + tool) * input price + cached * cached price + output * output price
    + thinking * thinking price) / 1,000,000.
    """
    cached = price.input_usd if price.cached_input_usd is None else price.cached_input_usd
    thinking = price.output_usd if price.thinking_usd is None else price.thinking_usd
    fresh = usage.input_tokens - usage.cached_tokens + usage.tool_tokens
    with localcontext(EXACT):
        total = (
            fresh * price.input_usd
            + usage.cached_tokens * cached
            + usage.output_tokens * price.output_usd
            + usage.thinking_tokens * thinking
        )
        return usd_from_nano(nano_from_usd(total / _PER_MILLION))


def ceiling_of(provider: BaseProvider, request: GenerationRequest, price: PriceRow) -> Decimal:
    """Return what one attempt can cost at most, in US dollars.

    The prompt's token bound at the dearest input price plus the answer's bound at the
    dearer of output and thinking price.
    """
    cached = price.input_usd if price.cached_input_usd is None else price.cached_input_usd
    thinking = price.output_usd if price.thinking_usd is None else price.thinking_usd
    with localcontext(EXACT):
        total = provider.bound_tokens(request) * max(price.input_usd, cached)
        total += provider.bound_output_tokens(request) * max(price.output_usd, thinking)
        return usd_from_nano(nano_from_usd(total / _PER_MILLION, rounding=ROUND_CEILING))
