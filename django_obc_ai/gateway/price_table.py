"""What Gemini's models cost: data alone, dated, with its source.

US dollars per million tokens, of the paid tier of the Gemini API, for text. Rows that begin
later are prices that Google has announced; those before them are introductory.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

from django_obc_ai.types import PriceRow

#: The price list, and where its figures were read on the day below: both agreed on every row.
SOURCE = "https://ai.google.dev/gemini-api/docs/pricing, by genai-prices 0.2.3 and litellm 1.109.1"
CHECKED_ON = date(2026, 11, 22)
LONG_PROMPT_TOKENS = 200_000
_HALF = Decimal("0.5")


def _row(
    model: str, input_usd: str, output_usd: str, cached_usd: str = "", **more: Any
) -> PriceRow:
    more |= {"input_usd": input_usd, "output_usd": output_usd}
    if cached_usd:
        more["cached_input_usd"] = cached_usd
    # Any: fields of several types; texts are amounts.
    found: dict[str, Any] = {
        name: Decimal(value) if isinstance(value, str) else value for name, value in more.items()
    }
    return PriceRow(model=model, batch_share=_HALF, source=SOURCE, checked_on=CHECKED_ON, **found)


def _long(input_usd: str, output_usd: str, cached_usd: str) -> dict[str, Any]:
    return {
        "long_prompt_tokens": LONG_PROMPT_TOKENS,
        "long_input_usd": input_usd,
        "long_output_usd": output_usd,
        "long_cached_input_usd": cached_usd,
    }


_NEW_YEAR = {"effective_from": date(2027, 1, 1)}
_DECEMBER = {"effective_from": date(2026, 12, 1)}

#: Thinking costs what output costs; the price of cached audio is not held.
PRICE_TABLE: tuple[PriceRow, ...] = (
    _row("gemini-2.5-flash", "0.30", "2.50", "0.03", audio_input_usd="1.00"),
    _row("gemini-2.5-flash-lite", "0.10", "0.40", "0.01", audio_input_usd="0.30"),
    _row("gemini-2.5-pro", "1.25", "10", "0.125", **_long("2.50", "15", "0.25")),
    _row("gemini-3-flash-preview", "0.50", "3.00", "0.05", audio_input_usd="1.00"),
    _row("gemini-3.1-flash-lite", "0.25", "1.50", "0.025", audio_input_usd="0.50",
         batch_cached_input_usd="0.0125"),
    _row("gemini-3.1-pro-preview", "2", "12", "0.20", **_long("4", "18", "0.40")),
    _row("gemini-3.5-flash", "1.50", "9.00", "0.15"),
    _row("gemini-3.5-flash-lite", "0.30", "2.50", "0.03", batch_cached_input_usd="0.02"),
    *(
        row
        for model in ("gemini-3.6-flash", "gemini-3.7-flash", "gemini-3.8-flash")
        for row in (
            _row(model, "0.75", "3.75", "0.075", batch_cached_input_usd="0.0375"),
            _row(model, "1.50", "7.50", "0.15", batch_cached_input_usd="0.075", **_NEW_YEAR),
        )
    ),
    _row("gemini-4-argon", "2", "10", "0.10", batch_cached_input_usd="0.05"),
    _row("gemini-4-argon", "4", "20", "0.20", batch_cached_input_usd="0.10", **_DECEMBER),
    _row("gemini-embedding-001", "0.15", "0"),
    _row("gemini-embedding-2", "0.20", "0", audio_input_usd="6.50"),
)  # fmt: skip
