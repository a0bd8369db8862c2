"""The tables of docs/explanation/cost-planning.md, computed from the price table.

``python -m tests.docs.cost_tables`` prints them, to be put into the page when prices change.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Decimal

from django_obc_ai.gateway.price_table import PRICE_TABLE
from django_obc_ai.types import PriceRow

#: The day on which "now" is, on the page.
TODAY = datetime.date(2026, 12, 1)
REQUESTS = 50_000
#: Input, output and thinking tokens of one answer.
SHAPES = {
    "Short question": (600, 150, 0),
    "Answer from sources": (1_500, 350, 0),
    "The same with thinking": (1_500, 350, 1_000),
    "Analysis of a long text": (8_000, 1_200, 0),
}
USUAL = "Answer from sources"
RATES = (0, 40, 80)
PROMISE = (Decimal(50), Decimal(100))
#: What a managed Redis costs by the deployment summary; nobody here has its price.
REDIS = Decimal(30)
#: Pieces and their tokens, searches and theirs.
PIECES, PIECE_TOKENS, SEARCHES, SEARCH_TOKENS = 100_000, 200, REQUESTS, 20
_MILLION = Decimal(1_000_000)

Row = list[str]


def rows_in_force() -> Iterator[tuple[str, PriceRow]]:
    """Yield the models that write, and their prices now and announced, the cheapest first."""
    found = []
    for row in PRICE_TABLE:
        if not row.output_usd:
            continue
        days = [each.effective_from for each in PRICE_TABLE if each.model == row.model]
        begun = [day for day in days if day is None or day <= TODAY]
        current = max(begun, key=lambda day: day or datetime.date.min)
        is_later = row.effective_from is not None and row.effective_from > TODAY
        if row.effective_from == current or is_later:
            since = f" from {row.effective_from}" if is_later else ""
            found.append((f"`{row.model}`{since}", row))
    yield from sorted(found, key=lambda each: month(each[1], USUAL))


def month(row: PriceRow, shape: str, *, rate: int = 0, share: Decimal = Decimal(1)) -> Decimal:
    """Return what the requests of a month cost that the cache does not answer."""
    given, written, thought = SHAPES[shape]
    one = (given * row.input_usd + (written + thought) * row.output_usd) * share / _MILLION
    return one * REQUESTS * (100 - rate) / 100


def dollars(amount: Decimal) -> str:
    """Return an amount in whole cents."""
    return f"${amount.quantize(Decimal('0.01'), rounding=ROUND_HALF_EVEN):,}"


def by_shape() -> Iterator[Row]:
    """What each shape costs without a cache."""
    for name, row in rows_in_force():
        yield [name, *(dollars(month(row, shape)) for shape in SHAPES)]


def by_hit_rate() -> Iterator[Row]:
    """What the usual shape costs, by what the cache answers."""
    for name, row in rows_in_force():
        yield [name, *(dollars(month(row, USUAL, rate=rate)) for rate in RATES)]


def kept_promise() -> Iterator[Row]:
    """What the cache has to answer for the month to cost no more than promised."""
    for name, row in rows_in_force():
        yield [
            name,
            *(_needed(month(row, shape), most) for shape in (USUAL, "Analysis of a long text")
              for most in reversed(PROMISE)),
        ]  # fmt: skip


def _needed(cost: Decimal, most: Decimal) -> str:
    if cost <= most:
        return "nothing"
    part = (100 * (1 - most / cost)).quantize(Decimal(1), rounding=ROUND_CEILING)
    return f"{part} %"


def further() -> Iterator[Row]:
    """What the usual shape costs in batches, and from a cache behind a managed Redis."""
    for name, row in rows_in_force():
        cached = month(row, USUAL, rate=40)
        batch = month(row, USUAL, share=row.batch_share)
        yield [name, dollars(batch), dollars(cached), dollars(cached + REDIS)]


def embeddings() -> Iterator[Row]:
    """What an index costs once, and the searches of a month."""
    for row in PRICE_TABLE:
        if "embedding" in row.model:
            index = PIECES * PIECE_TOKENS * row.input_usd / _MILLION
            searches = SEARCHES * SEARCH_TOKENS * row.input_usd / _MILLION
            yield [f"`{row.model}`", dollars(index), dollars(searches)]


#: Heading of the page, and what makes the rows below it.
TABLES: dict[str, Callable[[], Iterator[Row]]] = {
    "Without a cache": by_shape,
    "What the cache takes off": by_hit_rate,
    "The promise of $50 to $100": kept_promise,
    "Embeddings": embeddings,
    "Batches and Redis": further,
}

if __name__ == "__main__":
    for heading, make in TABLES.items():
        print(heading)
        print("\n".join(f"| {' | '.join(row)} |" for row in make()), end="\n\n")
