"""Hard budgets: what is refused, held, settled, and never passed."""

from __future__ import annotations

import datetime
import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, transaction

from django_obc_ai.backends.cost_stores import cost_stores
from django_obc_ai.conf import BudgetSettings
from django_obc_ai.exceptions import BudgetExceededError, ProviderTimeoutError
from django_obc_ai.gateway.policy import period_key
from django_obc_ai.models import AIOperation
from django_obc_ai.services.text import TextService
from django_obc_ai.testing import Reply, override_ai
from django_obc_ai.types import GenerationRequest, Usage
from tests.gateway.conftest import PRICES, Scripted

pytestmark = pytest.mark.django_db

DAY = {"scope": "global", "period": "day", "limit_usd": "0.001", "enforce": True}
DATABASE = {"default": {"BACKEND": "django_obc_ai.backends.cost_stores.database.DatabaseCostStore"}}


def budget(limit: str, **changes: Any) -> list[dict[str, Any]]:
    return [{**DAY, "limit_usd": limit, **changes}]


def total(period: str = "day") -> tuple[int, int]:
    now = datetime.datetime.now(tz=datetime.UTC)
    settings = BudgetSettings(scope="global", period=period, limit=Decimal(1))
    key = period_key(settings, now)
    totals = cost_stores["default"].totals([key])[key]
    return totals.spent_nano, totals.held_nano


def ask(prompt: str = "Q", **options: Any) -> Any:
    options = {"include_context": False, "use_cache": False, "max_output_tokens": 100, **options}
    return TextService().generate_text(prompt, **options)


def test_a_call_that_may_pass_the_budget_is_refused_before_it_is_sent(scripted: Scripted) -> None:
    kit = scripted("A", BUDGETS=budget("0.0001"))
    result = ask()
    assert (result.error, kit.provider.call_count) == ("budget_exceeded", 0)
    for part in ("global:day:", "$0.0001", "spent", "held", "Nothing was sent"):
        assert part in result.error_message
    row = AIOperation.objects.get()
    assert (row.attempts, row.cost_usd, row.error_category) == (0, 0, "budget_exceeded")
    with pytest.raises(BudgetExceededError):
        result.raise_for_error()


def test_the_ceiling_is_held_and_the_cost_is_settled(scripted: Scripted) -> None:
    held: list[tuple[int, int]] = []

    def answer(request: GenerationRequest) -> Reply:
        held.append(total())
        assert request.max_output_tokens == 100
        return Reply("A", usage=Usage(input_tokens=2, output_tokens=3))

    scripted(answer, BUDGETS=budget("0.001"))
    assert ask().success
    # 1 + 16 + 16 bytes at 1,000 nano and 100 tokens at 4,000 nano.
    assert held == [(0, 433_000)]
    assert total() == (14_000, 0)


def test_money_that_may_be_spent_is_never_given_back(scripted: Scripted) -> None:
    scripted(ProviderTimeoutError("Late."), BUDGETS=budget("0.001"), RETRY={"attempts": 1})
    ask()
    assert total() == (433_000, 0)
    assert AIOperation.objects.get().cost_usd == Decimal("0.000433")


def test_a_provider_that_takes_more_than_promised_is_booked_in_full(scripted: Scripted) -> None:
    scripted(Reply("A", usage=Usage(output_tokens=1_000)), BUDGETS=budget("0.001"))
    assert ask().success
    assert total() == (4_000_000, 0)
    assert ask().error == "budget_exceeded"


def test_a_spent_budget_still_serves_what_is_free() -> None:
    with override_ai(BUDGETS=budget("0")):
        result = ask()
        assert (result.success, result.is_offline, result.cost) == (True, True, 0)


def test_a_cached_answer_needs_no_budget(scripted: Scripted) -> None:
    usage = Usage(output_tokens=100)
    scripted(Reply("A", usage=usage), BUDGETS=budget("0.00045"))
    assert ask(use_cache=True).success
    assert ask("new").error == "budget_exceeded"
    assert ask(use_cache=True).cached is True


def test_without_enforcement_only_the_total_is_kept(scripted: Scripted) -> None:
    usage = Usage(input_tokens=4, output_tokens=9)
    scripted(Reply("A", usage=usage), BUDGETS=budget("0", enforce=False))
    assert ask().success
    assert total() == (40_000, 0)


def test_every_period_is_held_at_once_and_the_tightest_limit_counts(scripted: Scripted) -> None:
    budgets = [*budget("1", period="month"), *budget("1"), *budget("0.0001"), *budget("5")]
    scripted("A", BUDGETS=budgets)
    assert "global:day:" in ask().error_message
    assert total("month") == total("day") == (0, 0)


def test_a_model_without_a_price_is_refused_under_a_hard_budget(scripted: Scripted) -> None:
    kit = scripted("A", "B", BUDGETS=budget("5"), PRICES={})
    result = ask()
    assert (result.error, kit.provider.call_count) == ("configuration", 0)
    assert "OBC_AI['PRICES']['scripted']" in result.error_message


def test_a_model_without_a_price_passes_a_soft_budget(scripted: Scripted) -> None:
    scripted("A", BUDGETS=budget("5", enforce=False), PRICES={})
    assert ask().success


def test_a_database_hold_inside_a_transaction_is_refused(scripted: Scripted) -> None:
    kit = scripted("A", BUDGETS=budget("5"), COST_STORES=DATABASE, RETRY={"attempts": 1})
    with transaction.atomic():
        result = ask()
    assert (result.success, kit.provider.call_count) == (False, 0)
    assert "OBC_AI['DATABASE']" in result.error_message


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("store", ["memory", "database"])
def test_many_threads_never_pass_the_budget(store: str) -> None:
    limit_nano, calls = 2_000_000, 60
    billed: list[int] = []
    lock = threading.Lock()

    def answer(request: GenerationRequest) -> Reply:
        with lock:
            billed.append(433_000)
            # What the provider has billed, plus what is held for calls in flight.
            assert sum(billed) <= limit_nano
        return Reply("A", usage=Usage(input_tokens=33, output_tokens=100))

    provider = {
        "default": {
            "BACKEND": "django_obc_ai.testing.provider.ScriptedProvider",
            "OPTIONS": {"script": [answer], "repeat_last": True},
        }
    }
    stores = {} if store == "memory" else {"COST_STORES": DATABASE}

    def one(_: int) -> bool:
        try:
            return bool(ask().success)
        finally:
            connection.close()

    with override_ai(PROVIDERS=provider, PRICES=PRICES, BUDGETS=budget("0.002"), **stores):
        with ThreadPoolExecutor(8) as pool:
            successes = sum(pool.map(one, range(calls)))
        assert total() == (successes * 433_000, 0)
    assert successes == 4
    refused = AIOperation.objects.filter(error_category="budget_exceeded")
    assert refused.count() == calls - 4


@pytest.mark.parametrize(
    ("period", "key"),
    [
        ("hour", "global:hour:2026-12-31T17Z"),
        ("day", "global:day:2027-01-01"),
        ("week", "global:week:2026-W53"),
        ("month", "global:month:2027-01"),
        ("total", "global:total:always"),
    ],
)
def test_periods_follow_the_projects_time_zone(period: str, key: str) -> None:
    moment = datetime.datetime(2026, 12, 31, 17, 30, tzinfo=datetime.UTC)  # 01:30 in Manila
    settings = BudgetSettings(scope="global", period=period, limit=Decimal(1))
    assert period_key(settings, moment) == key
