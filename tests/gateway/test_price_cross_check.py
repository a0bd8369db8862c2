"""A second opinion on the price table: genai-prices, and every difference by name."""

from __future__ import annotations

import datetime
import itertools
from decimal import Decimal
from typing import Any

import pytest

from django_obc_ai.gateway.price_table import PRICE_TABLE
from django_obc_ai.gateway.prices import cost_of, find_price
from django_obc_ai.types import Usage

genai_prices = pytest.importorskip("genai_prices")

DAYS = [
    datetime.datetime(*day, tzinfo=datetime.UTC)
    for day in ((2026, 11, 22), (2026, 11, 30), (2026, 12, 1), (2026, 12, 31), (2027, 1, 1))
]
MODELS = sorted({row.model for row in PRICE_TABLE})
CHAT = [model for model in MODELS if "embedding" not in model]
USAGES = {
    "plain": Usage(input_tokens=1_234, output_tokens=567),
    "cached": Usage(input_tokens=5_000, cached_tokens=4_096, output_tokens=10),
    "thinking": Usage(input_tokens=100, output_tokens=20, thinking_tokens=3_000),
    "at 200,000": Usage(input_tokens=200_000, output_tokens=100),
    "above 200,000": Usage(input_tokens=200_001, output_tokens=100, cached_tokens=1_000),
    "audio": Usage(input_tokens=900, audio_tokens=300),
    "prompt alone": Usage(input_tokens=2_048),
}
#: What differs, and why; (model, usage, whether in a batch).
NO_BATCH_THERE = {"gemini-3.5-flash", "gemini-3.7-flash", "gemini-embedding-001"}


def theirs(model: str, usage: Usage, at: datetime.datetime, *, is_batch: bool) -> Decimal:
    counts: dict[str, Any] = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens + usage.thinking_tokens,
    }
    if usage.cached_tokens:
        counts["cache_read_tokens"] = usage.cached_tokens
    if usage.audio_tokens:
        counts["input_audio_tokens"] = usage.audio_tokens
    found = genai_prices.calc_price(
        genai_prices.Usage(**counts),
        model,
        provider_id="google",
        genai_request_timestamp=at,
        price_context={"processing": "batch"} if is_batch else None,
    )
    return Decimal(found.total_price).quantize(Decimal("1E-9"))


def test_every_difference_is_known() -> None:
    compared = 0
    differing = set()
    for model, (name, usage), at, is_batch in itertools.product(
        MODELS, USAGES.items(), DAYS, (False, True)
    ):
        if model not in CHAT and usage.output_tokens + usage.thinking_tokens + usage.cached_tokens:
            continue
        price = find_price(model, at)
        assert price is not None
        ours = cost_of(price, usage, is_batch=is_batch)
        if ours != theirs(model, usage, at, is_batch=is_batch):
            differing.add((model, name, is_batch))
        compared += 1
    assert compared > 700
    fitting = [
        (model, name)
        for model in NO_BATCH_THERE
        for name, usage in USAGES.items()
        if model in CHAT or not usage.output_tokens + usage.thinking_tokens + usage.cached_tokens
    ]
    assert differing == {(model, name, True) for model, name in fitting}


def test_models_that_answer_for_aliases_are_those_of_the_table() -> None:
    for alias in ("gemini-flash-latest", "gemini-flash-lite-latest", "gemini-pro-latest"):
        found = genai_prices.calc_price(
            genai_prices.Usage(input_tokens=1), alias, provider_id="google"
        )
        assert found.model.id in MODELS


def test_what_they_call_current_and_we_do_not_have_is_no_chat_of_text() -> None:
    """A new model of theirs fails this test, so that the table is brought up to date."""
    from genai_prices import data

    (google,) = [each for each in data.providers if each.id == "google"]
    current = {
        model.id
        for model in google.models
        if model.id.startswith("gemini-") and not model.deprecated
    }
    others = {
        model
        for model in current
        if any(
            word in model for word in ("image", "tts", "live", "omni", "nano-banana", "robotics")
        )
    }
    retired = {model for model in current if "1.0" in model or "1.5" in model}
    assert current - others - retired - {"gemini-pro"} == set(MODELS)
