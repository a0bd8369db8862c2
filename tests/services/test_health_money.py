"""What the health report says of cost stores, budgets, the ledger's sums and the rollups."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from unittest.mock import patch

import pytest
from django.test import override_settings
from django.utils import timezone

from django_obc_ai.backends.cost_stores import cost_stores
from django_obc_ai.backends.cost_stores.memory import MemoryCostStore
from django_obc_ai.exceptions import CostStoreError
from django_obc_ai.gateway.recovery import spent_by_key
from django_obc_ai.models import AIOperation
from django_obc_ai.services import _money_health
from django_obc_ai.services.health import HealthItem, check_health
from django_obc_ai.services.rollups import roll_up
from django_obc_ai.services.text import TextService
from django_obc_ai.testing import Reply, override_ai
from django_obc_ai.types import Usage
from tests.fakes import entry

pytestmark = pytest.mark.django_db
STORE = entry("django_obc_ai.backends.cost_stores.database.DatabaseCostStore")
PRICES = {"scripted": {"input_usd": "1", "output_usd": "4"}}
ANSWER = Reply("A", usage=Usage(input_tokens=100_000, output_tokens=100_000))  # 50 cents


class AbsentStore(MemoryCostStore):
    """A server that is away."""

    def totals(self, keys: Any) -> Any:
        raise CostStoreError("The store could not be asked, so nothing may be sent.")


def budget(limit: str, **more: Any) -> list[dict[str, Any]]:
    return [{"scope": "global", "period": "day", "limit_usd": limit, **more}]


def look(name: str) -> HealthItem:
    _, found = check_health(only=[name]).items
    return found


def spend(times: int = 1, **options: Any) -> None:
    for _ in range(times):
        options = {"max_output_tokens": 100_000, "use_cache": False, **options}
        assert TextService().generate_text("Q", **options).success


@pytest.fixture
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_money_health, "_sleep", lambda _: None)


@pytest.fixture
def paid(_no_pause: None) -> Iterator[override_ai]:
    options = {"COST_STORES": STORE, "PRICES": PRICES, "BUDGETS": budget("1")}
    with override_ai([ANSWER] * 9, **options) as ai:
        yield ai


# --- cost stores ---------------------------------------------------------------------------------
def test_a_store_of_one_process_is_a_warning_but_not_where_one_develops() -> None:
    with override_ai():
        found = look("cost store")
        assert found.status == "warning"
        assert "Each process has totals of its own, and may spend every budget." in found.message
        with override_settings(DEBUG=True):
            assert look("cost store").status == "ok"


def test_a_store_that_does_not_answer_is_unknown_and_says_what_follows() -> None:
    with override_ai(COST_STORES=entry(AbsentStore)):
        found = look("cost store")
    assert (found.status, found.hint) == (
        "unknown", "Until it answers, budgets refuse every call.",
    )  # fmt: skip
    assert found.message == "The store could not be asked, so nothing may be sent."


# --- budgets -------------------------------------------------------------------------------------
def test_budgets_say_how_far_they_are_used(paid: override_ai) -> None:
    spend()
    found = look("budgets")
    assert found.status == "ok"
    assert found.message == "1 in force; the most used, all calls, per day, to 50 %."


def test_a_budget_that_is_used_up_is_a_warning(paid: override_ai) -> None:
    spend(2)
    found = look("budgets")
    assert found.status == "warning"
    assert found.message == "Used up, or nearly: all calls, per day: 100 %."
    assert "is refused until its period is over" in found.hint
    assert check_health(only=["budgets"]).exit_code == 0


def test_of_many_budgets_the_most_used_are_named() -> None:
    modules = [
        {"scope": "module", "key": f"m{each}", "period": "day", "limit_usd": "0.5"}
        for each in range(5)
    ]
    options = {"COST_STORES": STORE, "PRICES": PRICES, "BUDGETS": modules}
    with override_ai([ANSWER] * 5, **options):
        for each in range(5):
            spend(module=f"m{each}")
        assert look("budgets").message.endswith("; and 2 more.")


def test_without_budgets_there_is_nothing_to_say() -> None:
    with override_ai():
        assert look("budgets").message == "There is none."
        assert look("ledger drift").status == "ok"


# --- drift ---------------------------------------------------------------------------------------
def test_a_store_that_agrees_with_the_ledger_is_fine(paid: override_ai) -> None:
    spend()
    found = look("ledger drift")
    assert (found.status, found.message) == ("ok", "Cost store and ledger agree.")


def test_a_store_that_differs_is_a_warning_with_both_amounts(paid: override_ai) -> None:
    spend()
    AIOperation.objects.update(cost_usd=Decimal("0.25"))
    found = look("ledger drift")
    assert found.status == "warning"
    assert found.message.startswith("1 totals differ. global:day:")
    assert found.message.endswith(": ledger $0.25, store $0.50.")
    assert found.hint == "Run: manage.py reconcile_costs --repair"


def test_calls_that_end_while_one_looks_are_no_drift(
    paid: override_ai, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store has a call that the ledger's sum, read before it, has not; and so on."""
    monkeypatch.setattr(_money_health, "_sleep", lambda _: spend())
    real = spent_by_key
    with patch.object(
        _money_health.recovery,
        "spent_by_key",
        lambda alias: {key: max(0, each - 500_000_000) for key, each in real(alias).items()},
    ):
        assert look("ledger drift").status == "ok"


def test_keys_that_hold_money_are_left_out(paid: override_ai) -> None:
    seen: list[str] = []
    AIOperation.objects.all().delete()

    def during(request: Any) -> Reply:
        AIOperation.objects.create(
            provider="default", cost_usd=Decimal("0.1"), success=True, prompt_hash="",
            created_at=timezone.now(),
        )  # fmt: skip
        seen.append(look("ledger drift").status)
        return ANSWER

    with override_ai([during], COST_STORES=STORE, PRICES=PRICES, BUDGETS=budget("5")):
        spend()
        assert seen == ["ok"]
        assert look("ledger drift").status == "warning"


def test_looking_changes_nothing(paid: override_ai) -> None:
    spend()
    before = cost_stores["default"].totals(list(spent_by_key()))
    check_health()
    assert cost_stores["default"].totals(list(spent_by_key())) == before


# --- rollups -------------------------------------------------------------------------------------
def test_a_ledger_that_nobody_adds_up_is_a_warning(paid: override_ai) -> None:
    spend()
    assert look("rollups").status == "ok"
    began = timezone.now() - datetime.timedelta(days=8)
    AIOperation.objects.update(created_at=began, recorded_at=began)
    found = look("rollups")
    assert found.status == "warning"
    assert f"since {began:%Y-%m-%d}" in found.message
    assert "manage.py ai_rollup" in found.hint
    assert roll_up() == 0
    assert look("rollups").status == "ok"
