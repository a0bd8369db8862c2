"""A cost is explained by the same prices that made it."""

from __future__ import annotations

import datetime
import uuid
from decimal import Decimal
from typing import Any

import pytest

from django_obc_ai.gateway import prices
from django_obc_ai.models import AIOperation, CostCorrection
from django_obc_ai.services.explanation import explain_cost
from django_obc_ai.types import Usage

pytestmark = pytest.mark.django_db
AT = datetime.datetime(2026, 11, 20, tzinfo=datetime.UTC)
TOKENS = {"input_tokens": 1_200, "cached_tokens": 200, "output_tokens": 300, "thinking_tokens": 40}


def make(**values: Any) -> AIOperation:
    price = prices.find_price("gemini-2.5-flash", AT)
    assert price is not None
    given = {
        "provider": "default", "success": True, "prompt_hash": "", "created_at": AT,
        "model_used": "gemini-2.5-flash", "cost_usd": prices.cost_of(price, Usage(**TOKENS)),
        **TOKENS,
    }  # fmt: skip
    return AIOperation.objects.create(**{**given, **values})


def test_each_kind_of_token_has_its_line_and_they_come_to_the_cost() -> None:
    operation = make()
    *lines, source, last = explain_cost(operation)
    assert [line.split(" tokens")[0] for line in lines] == [
        "1,000 input", "200 cached input", "300 output", "40 thinking",
    ]  # fmt: skip
    parts = sum(Decimal(line.rpartition("$")[2]) for line in lines)
    assert round(parts, 9) == operation.cost_usd
    assert "Prices of gemini-2.5-flash" in source and last == f"Together ${operation.cost_usd:f}."


@pytest.mark.parametrize(("values", "reason"), [
    ({"cost_usd": Decimal(1), "cost_known": False}, "the call's ceiling is presumed"),
    ({"cost_usd": Decimal(1), "attempts": 2}, "the sum of 2 attempts"),
    ({"cost_usd": Decimal(1)}, "prices were changed since"),
    ({"model_used": "unheard-of", "cost_usd": 0}, "'unheard-of' has no price"),
    ({"coalesced": True, "cost_usd": 0, "saved_usd": Decimal("0.25")}, "time, and cost $0.25."),
    ({"coalesced": True, "cost_usd": 0, "success": False}, "It shares the failure of another call"),
    ({"cached": True, "cost_usd": 0, "saved_usd": Decimal("0.25")}, "it had cost $0.25"),
])  # fmt: skip
def test_what_the_prices_do_not_explain_is_said(values: dict[str, Any], reason: str) -> None:
    assert reason in explain_cost(make(**values))[-1]


def test_waits_and_fallbacks_are_said_first() -> None:
    row = make(waited_ms=1_250, fallback_from="dear", provider="cheap")
    waited, moved, *_ = explain_cost(row)
    assert waited == "It waited 1.250 s for the limits of providers."
    assert moved == "The provider 'dear' was asked first; 'cheap' took over."
    row = make(waited_ms=90, coalesced=True, cost_usd=0)
    assert explain_cost(row)[0] == "It waited 0.090 s for the call that asked the same."


def test_a_correction_is_named() -> None:
    operation = make(cost_usd=Decimal(2))
    CostCorrection.objects.create(
        operation=operation, kind=CostCorrection.Kind.BILLED, old_cost_usd=1, new_cost_usd=2,
        was_cost_known=True, reason="the bill", made_by="amina", run=uuid.uuid4(),
    )  # fmt: skip
    assert explain_cost(operation)[-1].endswith("it was replaced by the bill by amina.")
