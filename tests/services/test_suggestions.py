"""Suggestions: from this project's rows, with the dollars they would have saved."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import pytest
from django.test import override_settings

from django_obc_ai.models import AIOperation
from django_obc_ai.services.suggestions import Suggestion, suggest_savings

pytestmark = pytest.mark.django_db
TODAY = datetime.date(2026, 7, 15)
PRICES = {"m": {"input_usd": "1", "output_usd": "4", "thinking_usd": "8"}}
HOUR = datetime.timedelta(hours=1)


@pytest.fixture(autouse=True)
def _prices() -> Any:
    with override_settings(OBC_AI={"PRICES": PRICES}):
        yield


def call(prompt: object, hours: float = 0, **values: Any) -> None:
    defaults: dict[str, Any] = {
        "cost_usd": Decimal("0.01"), "model_used": "m", "model_requested": "m",
        "content_type": "analysis", "input_tokens": 100, "output_tokens": 10, "success": True,
        "provider": "default",
    }  # fmt: skip
    at = datetime.datetime(2026, 7, 10, tzinfo=datetime.UTC) + hours * HOUR
    AIOperation.objects.create(
        **{**defaults, "prompt_hash": str(prompt), "created_at": at, **values}
    )


def found(kind: str) -> list[Suggestion]:
    return [each for each in suggest_savings(today=TODAY) if each.kind == kind]


def test_different_prompts_and_cached_repeats_suggest_nothing() -> None:
    for number in range(30):
        call(number)
        call(number, 1, cached=True, cost_usd=0)
    assert suggest_savings(today=TODAY) == []


def test_repeats_within_their_time_to_live_should_have_been_cached() -> None:
    for number in range(3):
        call(number, module="mana")
    call(0, 23, module="mana", cost_usd=Decimal("0.02"))
    call(1, 20, module="mana", scope="another tenant")  # never shared between tenants
    call(2, 20, module="mana", model_requested="another")
    (one,) = found("repeated_prompts")
    assert (one.subject, one.saves_usd) == ("mana", Decimal("0.02"))
    assert "cost of 1 repeats" in one.how
    assert found("ttl") == []


def test_later_repeats_ask_for_a_longer_time_to_live() -> None:
    for number in range(10):
        call(number)
        call(number, 25 + number)
    (one,) = found("ttl")
    assert (one.subject, one.saves_usd) == ("analysis", Decimal("0.10"))
    assert "kept for 86,400 s; 10 prompts came again later" in one.message
    assert found("repeated_prompts") == []


def test_a_module_below_80_percent_hears_what_its_repeats_cost() -> None:
    for number in range(15):
        call(number, module="mana")
    for number in range(5):
        call(number, 1, module="mana", cached=True, cost_usd=0)
    for number in range(5, 10):
        call(number, 30, module="mana")
    (one,) = found("hit_rate")
    assert (one.subject, one.saves_usd) == ("mana", Decimal("0.05"))
    assert "20% of mana's answers come from the cache; the aim is 80%" in one.message
    assert "often enough for 40%" in one.message


def test_prompts_far_above_the_median_are_counted_above_four_times_it() -> None:
    for number in range(30):
        call(number, input_tokens=2_000)
    call("long", input_tokens=108_000)
    (one,) = found("long_contexts")
    assert one.saves_usd == Decimal("0.1")  # 100,000 tokens at $1 a million
    assert "1 of 31 prompts of general/other are longer than 8,000 tokens" in one.message


def test_thinking_far_above_the_answers_is_priced_as_thinking() -> None:
    for number in range(25):
        call(number, operation_type="needs_classification", thinking_tokens=1_000)
        call(f"w{number}", operation_type="report", output_tokens=900, thinking_tokens=1_000)
    (one,) = found("unused_thinking")
    assert (one.subject, one.saves_usd) == ("needs_classification", Decimal("0.2"))


def test_few_calls_failures_and_models_without_a_price_suggest_nothing() -> None:
    call("a", thinking_tokens=10_000, operation_type="chat")
    for number in range(30):
        call(number, model_used="unknown", thinking_tokens=10_000)
        call(number, 1, success=False, error_category="timeout")
    assert suggest_savings(today=TODAY) == []


def test_the_largest_saving_comes_first_and_old_days_are_left_out() -> None:
    for number in range(2):
        call(number)
        call(number, 2, cost_usd=Decimal("0.02"))
        call(number, 40, cost_usd=Decimal("0.5"), content_type="static")
    savings = [each.saves_usd for each in suggest_savings(today=TODAY)]
    assert savings == sorted(savings, reverse=True) != []
    assert suggest_savings(1, today=TODAY) == []
