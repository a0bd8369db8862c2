"""docs/reference/prices.md shows the table that ships, and nothing else."""

from __future__ import annotations

from decimal import Decimal

from django_obc_ai.gateway.price_table import CHECKED_ON, LONG_PROMPT_TOKENS, PRICE_TABLE
from tests.docs.markdown import DOCS, names, section, table_rows

PAGE = DOCS / "reference" / "prices.md"
COLUMNS = (
    "input_usd", "cached_input_usd", "output_usd", "audio_input_usd", "long_input_usd",
    "long_cached_input_usd", "long_output_usd", "batch_cached_input_usd",
)  # fmt: skip


def test_every_row_of_the_table_is_shown_as_it_is() -> None:
    shown = []
    for model, since, *prices in table_rows(section(PAGE, "The table")):
        amounts = [Decimal(cell) if cell.strip() else None for cell in prices]
        shown.append((names(model)[0], since.strip() or None, *amounts))
    held = [
        (
            row.model,
            row.effective_from and row.effective_from.isoformat(),
            *(getattr(row, name) for name in COLUMNS),
        )
        for row in PRICE_TABLE
    ]
    assert shown == held


def test_the_sentences_about_the_table_hold_for_every_row() -> None:
    text = section(PAGE, "The table")
    assert f"{LONG_PROMPT_TOKENS:,} tokens" in text
    assert f"{CHECKED_ON.day} November {CHECKED_ON.year}" in text
    for row in PRICE_TABLE:
        assert row.thinking_usd is None
        assert row.batch_share == Decimal("0.5")
        assert row.long_prompt_tokens in (None, LONG_PROMPT_TOKENS)
        assert (row.long_prompt_tokens is None) == (row.long_input_usd is None)
        assert (row.output_usd == 0) == ("embedding" in row.model)
        assert row.checked_on == CHECKED_ON
        assert row.source.startswith("https://")
