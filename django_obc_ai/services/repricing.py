"""Computing costs again from stored token counts, after a price was corrected."""

from __future__ import annotations

import datetime
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal

from django.utils import timezone

from django_obc_ai.backends.providers import providers
from django_obc_ai.conf import get_settings
from django_obc_ai.exceptions import ConfigurationError
from django_obc_ai.gateway import prices
from django_obc_ai.models import AIOperation, CostCorrection
from django_obc_ai.querysets import day_bounds
from django_obc_ai.services import _corrections
from django_obc_ai.types import PriceRow, usd_from_nano


@dataclass(frozen=True, slots=True, kw_only=True)
class RepriceReport:
    """What pricing again did, or would do.

    Attributes:
        seen: Operations that were looked at.
        changed: Those whose cost differs.
        skipped: How many were left alone, by reason.
        old_usd: What the changed ones had cost.
        new_usd: What they cost now.
        by_model: Old and new US dollars of the changed ones by model.
        run: Marks the `CostCorrection` rows of this run.
    """

    seen: int
    changed: int
    skipped: dict[str, int]
    old_usd: Decimal
    new_usd: Decimal
    by_model: dict[str, tuple[Decimal, Decimal]] = field(default_factory=dict)
    run: uuid.UUID


def reprice(since: datetime.date, *, made_by: str, is_dry_run: bool = False) -> RepriceReport:
    """Compute the costs of a day and of all later ones again, at the prices of their own days.

    Idempotent: a cost that is right already is not touched, so a second run changes nothing.
    Left alone is what token counts cannot tell: calls whose counts are not the provider's own,
    calls that a bill was applied to, and calls of several attempts that together, but perhaps
    not each, reach the price of long prompts. Cached and free calls stay at 0.

    Args:
        since: First day, in the project's time zone.
        made_by: Who did it, for the trace.
        is_dry_run: Change nothing.
    """
    skipped: Counter[str] = Counter()
    seen = 0
    found: list[tuple[str, _corrections.Correction]] = []
    for row in _candidates(since):
        seen += 1
        priced = _price_again(row)
        if isinstance(priced, str):
            skipped[priced] += 1
        elif _differs(row, priced[0]):
            found.append((row.model_used, _correction_of(row, *priced)))
    run = uuid.uuid4()
    if not is_dry_run:
        kind = CostCorrection.Kind.REPRICED
        done = _corrections.apply((each for _, each in found), kind=kind, made_by=made_by, run=run)
        made = {each.operation_id for each in done}
        found = [pair for pair in found if pair[1].operation_id in made]
    by_model: dict[str, tuple[Decimal, Decimal]] = {}
    for model, each in found:
        old, new = by_model.get(model, (Decimal(0), Decimal(0)))
        by_model[model] = (old + each.old_cost_usd, new + each.new_cost_usd)
    return RepriceReport(
        seen=seen,
        changed=len(found),
        skipped=dict(skipped),
        old_usd=sum((old for old, _ in by_model.values()), Decimal(0)),
        new_usd=sum((new for _, new in by_model.values()), Decimal(0)),
        by_model=by_model,
        run=run,
    )


def _candidates(since: datetime.date) -> Iterator[AIOperation]:
    start, _ = day_bounds(since, since)
    billed = CostCorrection.objects.filter(kind=CostCorrection.Kind.BILLED)
    rows = AIOperation.objects.filter(created_at__gte=start, cached=False, attempts__gt=0)
    free = [alias for alias in get_settings().providers if _is_free(alias)]
    yield from (
        rows.exclude(pk__in=billed.values("operation_id"))
        .exclude(provider__in=free)
        .order_by("created_at")
        .iterator(chunk_size=2000)
    )


def _is_free(alias: str) -> bool:
    try:
        return providers[alias].is_free
    except ConfigurationError:  # its calls cost what they cost
        return False


def _price_again(row: AIOperation) -> tuple[Decimal, PriceRow] | str:
    """Return the cost and its price, or why there is none."""
    if row.total_tokens == 0:
        return "no tokens"
    if not row.tokens_exact:
        return "counts that are not the provider's own"
    at = row.created_at if row.created_at.tzinfo else timezone.make_aware(row.created_at)
    price = prices.find_price(row.model_used, at)
    if price is None:
        return "no price"
    limit = price.long_prompt_tokens
    if row.attempts > 1 and limit is not None and row.input_tokens > limit:
        return "several attempts, perhaps long ones"
    return prices.cost_of(price, row.usage), price


def _differs(row: AIOperation, cost: Decimal) -> bool:
    """Return whether a cost is another one; attempts were rounded one by one, their sum is not."""
    rounding = usd_from_nano(max(0, row.attempts - 1))
    return not row.cost_known or abs(cost - row.cost_usd) > rounding


def _correction_of(row: AIOperation, cost: Decimal, price: PriceRow) -> _corrections.Correction:
    since = f" from {price.effective_from}" if price.effective_from else ""
    reason = f"{price.model}{since}: ${price.input_usd:f} in, ${price.output_usd:f} out a million"
    return _corrections.Correction(
        operation_id=row.pk,
        old_cost_usd=row.cost_usd,
        new_cost_usd=cost,
        was_cost_known=row.cost_known,
        reason=reason,
    )
