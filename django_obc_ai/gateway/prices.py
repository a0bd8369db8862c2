"""What tokens cost: dated prices, exact to the nano-dollar.

Prices come from ``OBC_AI["PRICES"]``; where there is none for a model, or none has begun yet, from
the table that ships. A model without a price is never free: its cost is unknown
(``cost_known=False``), and under an enforced budget it is refused.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable
from decimal import ROUND_CEILING, Decimal, localcontext
from typing import Any, NamedTuple

from django_obc_ai.backends.providers.base import BaseProvider
from django_obc_ai.conf import get_settings
from django_obc_ai.gateway.price_table import PRICE_TABLE
from django_obc_ai.types import GenerationRequest, PriceRow, Usage, nano_from_usd, usd_from_nano
from django_obc_ai.types.nano import EXACT

_PER_MILLION = Decimal(1_000_000)
_VERSION = re.compile(r"-\d{3}$")
_ALIAS = re.compile(r"(?P<maker>[a-z]+)-(?:(?P<family>[a-z-]+)-)?latest")


def find_price(model: str, at: datetime.datetime) -> PriceRow | None:
    """Return the price of a model at a time, or None if none is known.

    Args:
        model: The provider's name, with or without a "models/" prefix. A numbered version
            such as "-001" costs what its model costs, unless it has a price of its own.
        at: Aware; its UTC day selects the row.
    """
    day, tables = at.astimezone(datetime.UTC).date(), (get_settings().prices, PRICE_TABLE)
    global _found
    if _found[0][0] is not tables[0] or _found[0][1] is not tables[1] or len(_found[1]) > 1_000:
        _found = (tables, {})
    known = _found[1]
    if (model, day) not in known:
        known[model, day] = _price_on(model, day)
    return known[model, day]


#: The tables, and what was found in them by model and day.
_found: tuple[tuple[Any, Any], dict[tuple[str, datetime.date], PriceRow | None]] = ((0, 0), {})


def _price_on(model: str, day: datetime.date) -> PriceRow | None:
    name = model.removeprefix("models/")
    for each in (name, _VERSION.sub("", name)):
        for rows in (get_settings().prices, PRICE_TABLE):  # ours, once the first of them began
            found = _in_force([row for row in rows if row.model == each], day)
            if found is not None:
                return found
    return None


def bounding_price(model: str, at: datetime.datetime) -> PriceRow | None:
    """Return a price that the model's real one cannot pass, as far as the table knows.

    That is its own price, or, for an alias such as "gemini-flash-latest", each dearest price
    among the models of its family. None if there is neither.
    """
    own = find_price(model, at)
    if own is not None:
        return own
    found = [find_price(each, at) for each in members_of(model)]
    rows = [row for row in found if row is not None]
    return _dearest(model, rows) if rows else None


def members_of(alias: str) -> list[str]:
    """Return the models that an alias "…-latest" may stand for; [] for any other name."""
    match = _ALIAS.fullmatch(alias.removeprefix("models/"))
    if match is None:
        return []
    family = f"-{re.escape(match['family'])}" if match["family"] else ".*"
    pattern = re.compile(rf"{match['maker']}-[\d.]+{family}(-preview)?")
    rows = (*get_settings().prices, *PRICE_TABLE)
    return sorted({row.model for row in rows if pattern.fullmatch(row.model)})


def _in_force(rows: list[PriceRow], day: datetime.date) -> PriceRow | None:
    begun = [row for row in rows if row.effective_from is None or row.effective_from <= day]
    return max(begun, key=lambda row: row.effective_from or datetime.date.min, default=None)


class _Rates(NamedTuple):
    """US dollars per million tokens of each kind, nothing left open."""

    input: Decimal
    cached: Decimal
    audio: Decimal
    output: Decimal
    thinking: Decimal


def _rates(price: PriceRow, *, is_long: bool = False, is_batch: bool = False) -> _Rates:
    fresh, output, cached = price.input_usd, price.output_usd, price.cached_input_usd
    thinking = price.thinking_usd
    if is_long and price.long_input_usd is not None and price.long_output_usd is not None:
        fresh, output, cached = (
            price.long_input_usd, price.long_output_usd, price.long_cached_input_usd
        )  # fmt: skip
        thinking = None
    audio = price.audio_input_usd
    share = price.batch_share if is_batch else Decimal(1)
    if is_batch and price.batch_cached_input_usd is not None:
        cached = price.batch_cached_input_usd
    return _Rates(
        input=fresh * share,
        cached=fresh if cached is None else cached,
        audio=(fresh if audio is None else audio) * share,
        output=output * share,
        thinking=(output if thinking is None else thinking) * share,
    )


def _rates_of(price: PriceRow, *, is_long: bool = False, is_batch: bool = False) -> _Rates:
    """Return `_rates`, which is made once for each price in use."""
    key = (id(price), is_long, is_batch)
    known = _made.get(key)
    if known is None or known[0] is not price:  # the id of one that is gone
        if len(_made) > 1_000:
            _made.clear()
        known = _made[key] = (price, _rates(price, is_long=is_long, is_batch=is_batch))
    return known[1]


_made: dict[tuple[int, bool, bool], tuple[PriceRow, _Rates]] = {}


def _most(rates: Iterable[_Rates]) -> _Rates:
    return _Rates(*map(max, zip(*rates, strict=True)))


def _dearest(model: str, rows: list[PriceRow]) -> PriceRow:
    """Return a row that costs at least what each of these does, whatever is asked."""
    most = _most(_rates(row, is_long=is_long) for row in rows for is_long in (False, True))
    return PriceRow(
        model=model,
        input_usd=most.input,
        output_usd=most.output,
        cached_input_usd=most.cached,
        thinking_usd=most.thinking,
        audio_input_usd=most.audio,
    )


def _is_long(price: PriceRow, prompt_tokens: int) -> bool:
    return price.long_prompt_tokens is not None and prompt_tokens > price.long_prompt_tokens


def cost_of(price: PriceRow, usage: Usage, *, is_batch: bool = False) -> Decimal:
    """Return the cost of one answer in US dollars, rounded once, to the nano-dollar.

    ((input - cached - audio + tool) * input price + cached * cached price + audio * audio
    price + output * output price + thinking * thinking price) / 1,000,000. A prompt above
    ``long_prompt_tokens`` has the long prices for all of it.

    Args:
        price: The row in force for the model that answered.
        usage: What the provider counted.
        is_batch: Whether the request was part of a batch.
    """
    with localcontext(EXACT):
        parts = parts_of(price, usage, is_batch=is_batch)
        total = sum((tokens * rate for _, tokens, rate in parts if tokens), start=Decimal(0))
        return usd_from_nano(nano_from_usd(total / _PER_MILLION))


def parts_of(
    price: PriceRow, usage: Usage, *, is_batch: bool = False
) -> list[tuple[str, int, Decimal]]:
    """Return what a cost is made of: kind, tokens, and US dollars per million of them."""
    rates = _rates_of(price, is_long=_is_long(price, usage.input_tokens), is_batch=is_batch)
    fresh = usage.input_tokens - usage.cached_tokens - usage.audio_tokens + usage.tool_tokens
    return [
        ("input", fresh, rates.input),
        ("cached input", usage.cached_tokens, rates.cached),
        ("audio input", usage.audio_tokens, rates.audio),
        ("output", usage.output_tokens, rates.output),
        ("thinking", usage.thinking_tokens, rates.thinking),
    ]


def ceiling_of(provider: BaseProvider, request: GenerationRequest, price: PriceRow) -> Decimal:
    """Return what one attempt can cost at most, in US dollars.

    The prompt's token bound at its dearest price plus the answer's bound at the dearer of
    output and thinking price; with the long prices if the prompt may be that long.
    """
    prompt = provider.bound_tokens(request)
    reachable = (False, True) if _is_long(price, prompt) else (False,)
    rates = _rates_of(price)
    if len(reachable) > 1:
        rates = _most(_rates_of(price, is_long=is_long) for is_long in reachable)
    with localcontext(EXACT):
        total = prompt * max(rates.input, rates.cached, rates.audio)
        total += provider.bound_output_tokens(request) * max(rates.output, rates.thinking)
        return usd_from_nano(nano_from_usd(total / _PER_MILLION, rounding=ROUND_CEILING))
