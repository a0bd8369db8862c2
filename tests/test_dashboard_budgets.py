"""The dashboard's budgets, and what of them and of the rest needs a hand."""

from __future__ import annotations

import uuid
from decimal import Decimal

import pytest
from django.test import Client
from django.utils import timezone

from django_obc_ai.backends.cost_stores import cost_stores
from django_obc_ai.gateway import policy
from django_obc_ai.models import BudgetAlert
from django_obc_ai.testing import override_ai
from django_obc_ai.types import Amount, BudgetHold
from tests.dashboard_page import read_page, rows_behind
from tests.test_dashboard import BUDGETS, client, make, page_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def viewer() -> Client:
    return client("view_dashboard", "view_aioperation")


def test_budgets_show_what_is_spent_held_and_expected(viewer: Client) -> None:
    budgets = [*BUDGETS, {"scope": "module", "key": "mana", "period": "month", "limit_usd": "1"}]
    with override_ai(BUDGETS=budgets):
        now = timezone.now()
        for spent, held, budget in ((3.5, 0.5, 0), (0.2, 0, 1)):
            spend_on(budget, spent=spent, held=held)
        make(0, module="mana", cost_usd=Decimal("0.2"))
        make(0, cost_usd=Decimal("3.3"))
        BudgetAlert.objects.create(
            key="global:day", percent=75, level="warning", unit="usd", spent=4, limit=5
        )
        page = page_of(viewer)
        mark, start, end = policy.period(policy.in_force()[0], now)
    gauges = read_page(page).gauges
    day, month = gauges[f"global:day:{mark}"], gauges[f"module=mana:month:{mark[:7]}"]
    names = ("data-spent", "data-held", "data-limit")
    assert [Decimal(day[name]) for name in names] == [Decimal("3.5"), Decimal("0.5"), 5]
    assert [Decimal(month[name]) for name in names] == [Decimal("0.2"), 0, 1]
    assert start is not None and end is not None
    passed = max((now - start) / (end - start), 0.01)
    assert float(day["data-expected"]) == pytest.approx(3.5 / passed, rel=0.01)
    assert "all calls, per day" in page and "75 % (reached), 90 %" in page
    assert 'width="70.00"' in page and 'x="70.00" width="10.00"' in page
    for gauge, amount in ((day, "3.5"), (month, "0.2")):
        rows = rows_behind(viewer, gauge["url"])
        assert sum(row.cost_usd for row in rows.values()) == Decimal(amount)
    assert "global:day reached 75 %" in page


def spend_on(number: int, *, spent: float, held: float) -> None:
    """Let calls have spent, and hold, dollars of a budget."""
    budget = policy.in_force()[number]
    key = policy.key_of(budget, budget.key, policy.period(budget, timezone.now())[0])
    for amount in (spent, held):
        reservation = uuid.uuid4()
        nano = Amount(nano=round(amount * 10**9))
        cost_stores["default"].reserve(reservation, [BudgetHold(key=key)], nano)
        if amount == spent:
            cost_stores["default"].settle(reservation, nano)


def test_what_needs_a_hand_stands_first_and_leads_to_it() -> None:
    viewer = client("view_dashboard", "view_aioperation", "view_budget")
    make(0, success=False, error_category="authentication", cost_known=False)
    with override_ai(BUDGETS=BUDGETS):
        spend_on(0, spent=5, held=0)
        concerns = read_page(page_of(viewer)).concerns
    by_about = {about: (text, url) for about, text, url in concerns}
    assert "The budget of all calls, per day is used up (100 %)" in by_about["budget"][0]
    assert "ai_index" in by_about["index"][0]
    for about in ("failures", "price"):
        assert len(rows_behind(viewer, by_about[about][1])) == 1
    assert viewer.get(by_about["budget"][1]).status_code == 200
