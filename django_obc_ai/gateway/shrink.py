"""Shortening an answer until its call fits into a budget, where the project allows it."""

from __future__ import annotations

from dataclasses import replace

from django_obc_ai.backends.providers import BaseProvider
from django_obc_ai.conf import get_settings
from django_obc_ai.exceptions import BudgetExceededError
from django_obc_ai.gateway import prices
from django_obc_ai.types import GenerationRequest, PriceRow, nano_from_usd


def fitted(
    provider: BaseProvider,
    request: GenerationRequest,
    price: PriceRow | None,
    refusal: BudgetExceededError,
) -> GenerationRequest | None:
    """Return the request with fewer ``max_output_tokens``, or None if none fits.

    Never fewer than ``OBC_AI["MONEY"]["min_output_tokens"]``; None there never shortens.
    """
    floor, most = get_settings().money.min_output_tokens, request.max_output_tokens
    if floor is None or most is None or most <= floor or refusal.unit == "requests":
        return None
    room = refusal.limit - refusal.spent - refusal.held

    def takes(tokens: int) -> int:
        shorter = replace(request, max_output_tokens=tokens)
        if refusal.unit == "tokens":
            return provider.bound_tokens(shorter) + provider.bound_output_tokens(shorter)
        assert price is not None  # noqa: S101 - without a price it is refused differently
        return nano_from_usd(prices.ceiling_of(provider, shorter, price))

    if takes(floor) > room:
        return None
    low, high = floor, most  # low fits, high does not
    while high - low > 1:
        middle = (low + high) // 2
        if takes(middle) <= room:
            low = middle
        else:
            high = middle
    return replace(request, max_output_tokens=low)
