"""What became of a call, and why it cost what it did, line by line."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from decimal import Decimal

from django.conf import settings
from django.utils import timezone

from django_obc_ai.gateway import prices
from django_obc_ai.models import AIOperation, CostCorrection
from django_obc_ai.querysets import is_imported


def explain_cost(operation: AIOperation) -> list[str]:
    """Return lines that lead from the counted tokens to the cost of a row of the ledger.

    Before them stands what the call waited for and where it went; the last line says where the
    row's cost is another one, and why.
    """
    return [*_way_of(operation), *_cost_of(operation)]


def _way_of(operation: AIOperation) -> Iterator[str]:
    if operation.waited_ms:
        what = "the call that asked the same" if operation.coalesced else "the limits of providers"
        yield f"It waited {operation.waited_ms / 1000:,.3f} s for {what}."
    if operation.fallback_from:
        yield (
            f"The provider {operation.fallback_from!r} was asked first;"
            f" {operation.provider!r} took over."
        )


def _cost_of(operation: AIOperation) -> list[str]:
    if operation.cached:
        return [f"The answer came from the cache. Paid for, it had cost ${operation.saved_usd:f}."]
    if operation.coalesced:
        shared = "of another call, which asked the same at the same time"
        if not operation.success:
            return [f"It shares the failure {shared}."]
        return [f"The answer is that {shared}, and cost ${operation.saved_usd:f}."]
    if is_imported(operation.provider, operation.attempts):
        known = "" if operation.cost_known else "; the call may have cost more"
        return [
            f"The cost is what {operation.provider} had recorded, ${operation.cost_usd:f}{known}."
        ]
    model = operation.model_used or operation.model_requested
    price = prices.find_price(model, _instant(operation.created_at)) if model else None
    if price is None:
        return [f"The model {model!r} has no price, so the cost is ${operation.cost_usd:f}."]
    usage, million = operation.usage, Decimal(1_000_000)
    lines = [
        f"{tokens:,} {kind} tokens at ${rate.normalize():f} a million: ${tokens * rate / million:f}"
        for kind, tokens, rate in prices.parts_of(price, usage)
        if tokens
    ]
    since = f" since {price.effective_from}" if price.effective_from else ""
    lines.append(f"Prices of {price.model}{since}, from {price.source or 'your settings'}.")
    cost = prices.cost_of(price, usage)
    if cost == operation.cost_usd:
        return [*lines, f"Together ${cost:f}."]
    return [*lines, f"Together ${cost:f}; the row says ${operation.cost_usd:f}: {_why(operation)}"]


def _why(operation: AIOperation) -> str:
    correction = CostCorrection.objects.filter(operation=operation).order_by("-created_at").first()
    if correction is not None:
        return f"it was {correction.get_kind_display()} by {correction.made_by}."
    if not operation.cost_known:
        return "not all of it was counted, and the call's ceiling is presumed."
    if operation.attempts > 1:
        return f"it is the sum of {operation.attempts} attempts, each at its own price."
    return "prices were changed since; reprice_operations brings them together."


def _instant(moment: datetime.datetime) -> datetime.datetime:
    return moment if settings.USE_TZ else timezone.make_aware(moment)
