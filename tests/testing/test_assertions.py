"""The assertions hold where they should, and fail where they should."""

from __future__ import annotations

import asyncio
import re
from decimal import Decimal
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connections

from django_obc_ai.exceptions import RateLimitError
from django_obc_ai.services.text import TextService
from django_obc_ai.testing import (
    Reply,
    assert_ai_calls,
    assert_cost_below,
    assert_no_prompt_contains,
    override_ai,
)
from django_obc_ai.types import Message, Source, Usage

pytestmark = pytest.mark.django_db
PRICES = {"scripted": {"input_usd": "1", "output_usd": "2"}}
USAGE = Usage(input_tokens=1_000, output_tokens=2_000)  # $0.005
PAID = Reply("A", usage=USAGE)


def ask(prompt: str = "Q", **arguments: Any) -> Any:
    return TextService().generate_text(prompt, **arguments)


def test_calls_that_ask_a_provider_are_counted() -> None:
    with override_ai(["A", "B", RateLimitError("Busy."), "C"], RETRY={"attempts": 1}):
        with assert_ai_calls(3) as operations:
            ask("one", operation_type="chat", module="mana")
            ask("two", operation_type="chat")
            ask("one", operation_type="chat", module="mana")  # from the cache
            ask("three")  # fails
        assert [each.cached for each in operations] == [False, False, True, False]
        with assert_ai_calls(1, operation_type="other"), assert_ai_calls(0, module="mana"):
            ask("four")


def test_another_number_fails_and_lists_what_finished() -> None:
    with override_ai([PAID], PRICES=PRICES), pytest.raises(AssertionError) as caught:
        with assert_ai_calls(2):
            ask("A secret question", operation_type="chat")
            ask("A secret question", operation_type="chat")
    message = str(caught.value)
    assert message.startswith("1 operations asked a provider, not 2.")
    assert "chat in general: scripted, 1 attempts, $0.005" in message
    assert "from the cache" in message
    assert "secret" not in message
    with pytest.raises(AssertionError, match="No operation finished"), assert_ai_calls(1):
        pass


def test_refused_calls_ask_nobody() -> None:
    budgets = [{"scope": "global", "period": "day", "limit_usd": "0.000001"}]
    with override_ai(["A"], PRICES=PRICES, BUDGETS=budgets), assert_ai_calls(0):
        assert ask().error == "budget_exceeded"


@pytest.mark.django_db(transaction=True)
def test_awaited_calls_count_too() -> None:
    async def main() -> None:
        with assert_ai_calls(1):
            await TextService().agenerate_text("Q")
        await sync_to_async(connections.close_all)()

    with override_ai(["A"]):
        asyncio.run(main())


def test_costs_below_the_limit() -> None:
    with override_ai([PAID, PAID], PRICES=PRICES), assert_cost_below("0.011"):
        ask("one")
        ask("two")


@pytest.mark.parametrize("limit", ["0.005", Decimal("0.0049"), 0])
def test_costs_at_or_above_the_limit_fail(limit: Any) -> None:
    with override_ai([PAID], PRICES=PRICES):
        with pytest.raises(AssertionError, match=r"The cost is \$0\.005.*, not below"):
            with assert_cost_below(limit):
                ask()


def test_a_cost_that_nobody_knows_is_not_below_anything() -> None:
    with override_ai([PAID]), pytest.raises(AssertionError, match="not known"):
        with assert_cost_below(100):
            ask()


def test_a_float_is_no_amount_of_money() -> None:
    with pytest.raises(TypeError, match="exact amount"), assert_cost_below(0.1):  # type: ignore[arg-type]
        pass


EVERYWHERE = {
    "prompt": {"prompt": "Call JUAN now"},
    "system instruction": {"system_context": "You know juan."},
    "history (turn 2, assistant)": {
        "history": [Message(role="user", text="Hi"), Message(role="assistant", text="I am Juan")]
    },
    "title of source 1": {"sources": [Source(title="Juan", text="x")]},
    "text of source 1": {"sources": [Source(text="a juan b")]},
    "response schema": {"response_schema": {"type": "string", "description": "name of Juan"}},
}


@pytest.mark.parametrize("where", EVERYWHERE)
@pytest.mark.parametrize("forbidden", ["Juan", re.compile(r"\b[Jj](uan|UAN)\b")])
def test_what_must_not_be_sent_is_found_wherever_it_stands(where: str, forbidden: Any) -> None:
    arguments = {"prompt": "Q", "include_context": False, **EVERYWHERE[where]}
    with override_ai(["A"]) as ai:
        with pytest.raises(AssertionError, match=re.escape(where)) as caught:
            with assert_no_prompt_contains("Maria", forbidden):
                ask(**arguments)
        assert ai.provider.call_count == 0
    assert "Call" not in str(caught.value)


def test_code_that_hides_the_error_fails_nevertheless() -> None:
    with override_ai(["A"]), pytest.raises(AssertionError, match="prompt of a request"):
        with assert_no_prompt_contains("juan"):
            try:
                ask("juan")
            except AssertionError:
                pass


def test_innocent_calls_pass() -> None:
    with override_ai(["A", "B"]) as ai:
        with assert_no_prompt_contains("juan"):
            ask("Who?")
        ask("juan")  # outside
    assert ai.provider.call_count == 2


@pytest.mark.parametrize("forbidden", [(), ("",), ("juan", "")])
def test_something_must_be_forbidden(forbidden: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="none of them empty"):
        with assert_no_prompt_contains(*forbidden):
            pass
