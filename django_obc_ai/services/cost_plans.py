"""What a month of requests would cost with each model: from the ledger, or from given figures."""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from fractions import Fraction

from django.db.models import Sum
from django.utils import timezone

from django_obc_ai.conf import get_settings
from django_obc_ai.exceptions import ConfigurationError
from django_obc_ai.gateway import prices
from django_obc_ai.gateway.price_table import PRICE_TABLE
from django_obc_ai.models import AIOperation
from django_obc_ai.querysets import current_day
from django_obc_ai.types import Usage
from django_obc_ai.types.nano import EXACT

#: What a plan's month is.
MONTH_DAYS = 30
_TOKENS = ("input_tokens", "cached_tokens", "output_tokens", "thinking_tokens", "tool_tokens")


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenTraffic:
    """What was asked over some days, without embeddings.

    Attributes:
        requests: Answers of those days that were not shared with another call, for 30 days.
        hit_rate: Cached answers in all of these, 0 to 1; 0 where there were none.
        usage: Mean of the answers that a provider gave, each kind of token rounded up.
        days: How many days were looked at, today included.
    """

    requests: int
    hit_rate: Fraction
    usage: Usage
    days: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CostPlan:
    """What a month would cost with one model.

    Attributes:
        model: The provider's name.
        since: The day from which its price holds; None for one that holds already.
        request_usd: One answer, exact to the nano-dollar.
        month_usd: The requests that the cache does not answer.
    """

    model: str
    since: datetime.date | None
    request_usd: Decimal
    month_usd: Decimal


def seen_traffic(days: int = MONTH_DAYS) -> SeenTraffic:
    """Return what the ledger says of the last days; see `SeenTraffic`."""
    today = current_day()
    rows = AIOperation.objects.between(today - datetime.timedelta(days=days - 1), today)
    answered = rows.filter(success=True, coalesced=False).exclude(operation_type="embedding")
    cached = answered.filter(cached=True).count()
    asked = answered.filter(cached=False)
    number = asked.count()
    sums = asked.order_by().aggregate(**{name: Sum(name) for name in _TOKENS})
    means = [math.ceil(Fraction(sums[name] or 0, number or 1)) for name in _TOKENS]
    given, again, written, thought, tools = means
    usage = Usage(
        input_tokens=given,
        cached_tokens=again,
        output_tokens=written,
        thinking_tokens=thought,
        tool_tokens=tools,
    )
    total = number + cached
    return SeenTraffic(
        requests=math.ceil(Fraction(total * MONTH_DAYS, days)),
        hit_rate=Fraction(cached, total or 1),
        usage=usage,
        days=days,
    )


def plan_costs(
    *,
    requests: int,
    hit_rate: Fraction,
    usage: Usage,
    models: Sequence[str] = (),
    today: datetime.date | None = None,
) -> list[CostPlan]:
    """Return what a month of requests would cost, model by model, the cheapest first.

    A model whose price changes later comes once more for each change that is known. A request is
    taken to be one call: no second attempt, no fallback.

    Args:
        requests: Of a month, those that the cache answers included.
        hit_rate: The part that the cache answers, 0 to 1; such an answer is free.
        usage: What one answer takes.
        models: Which; all that have a price for output by default.
        today: The UTC day whose prices hold; the present one by default.

    Raises:
        ConfigurationError: A model that is named has no price.
    """
    day = today or timezone.now().astimezone(datetime.UTC).date()
    asked = requests * (1 - hit_rate)
    found = [
        _plan(model, since, asked, usage, day=since or day)
        for model in (models or _generating())
        for since in (None, *_changes(model, after=day))
    ]
    return sorted(found, key=lambda each: (each.month_usd, each.model, each.since is not None))


def _plan(
    model: str,
    since: datetime.date | None,
    asked: Fraction,
    usage: Usage,
    *,
    day: datetime.date,
) -> CostPlan:
    moment = datetime.datetime(day.year, day.month, day.day, tzinfo=datetime.UTC)
    price = prices.find_price(model, moment)
    if price is None:
        raise ConfigurationError(
            f"The model {model!r} has no price. Give one in OBC_AI['PRICES'][{model!r}]."
        )
    one = prices.cost_of(price, usage)
    with localcontext(EXACT):
        month = (one * asked.numerator / asked.denominator).quantize(Decimal("0.01"))
    return CostPlan(model=model, since=since, request_usd=one, month_usd=month)


def _generating() -> list[str]:
    rows = (*get_settings().prices, *PRICE_TABLE)
    return sorted({row.model for row in rows if row.output_usd})


def _changes(model: str, *, after: datetime.date) -> Iterator[datetime.date]:
    rows = [row for row in (*get_settings().prices, *PRICE_TABLE) if row.model == model]
    days = {row.effective_from for row in rows if row.effective_from is not None}
    yield from sorted(each for each in days if each > after)
