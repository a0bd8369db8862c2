"""What a person is told who asks how far a budget is used."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from django_obc_ai.models import AIOperation, Budget, BudgetAlert, BudgetChange
from django_obc_ai.services.costs import CostTracker

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("budget", "levels"),
    [
        (None, []),
        ("10", []),
        (Decimal("4.01"), []),
        (4, ["warning"]),
        (3.3333, ["critical"]),
        (0, ["critical"]),
    ],
)
def test_thresholds_are_75_and_90_percent(budget: Any, levels: list[str]) -> None:
    AIOperation.objects.create(
        provider="default", success=True, cost_usd=Decimal(3), prompt_hash=""
    )
    found = CostTracker().check_budget_alert(daily_budget=budget)
    assert [each["level"] for each in found["alerts"]] == levels
    assert found["has_alerts"] == bool(levels)
    monthly = CostTracker().check_budget_alert(monthly_budget=budget)
    assert [each["type"] for each in monthly["alerts"]] == ["monthly"] * len(levels)


def test_the_admin_sets_budgets_keeps_their_history_and_tells_of_alerts(client: Client) -> None:
    chief = User.objects.create_superuser("chief")
    client.force_login(chief)
    entry = {
        "scope": "module", "key": "mana", "period": "day", "limit_usd": "1.50",
        "enforce": "on", "alert_percent": "[50, 90]", "time_zone": "Asia/Manila",
    }  # fmt: skip
    place = "/admin/django_obc_ai/budget/"
    assert client.post(f"{place}add/", entry).status_code == 302
    row = Budget.objects.get()
    assert (row.limit_usd, row.alert_percent) == (Decimal("1.50"), [50, 90])
    assert BudgetChange.objects.get().changed_by == str(chief.pk)
    refused = client.post(f"{place}add/", {**entry, "time_zone": "Asia/Nowhere"})
    assert b"is no time zone" in refused.content
    refused = client.post(f"{place}add/", {**entry, "limit_tokens": "5"})
    assert b"has 2 limits" in refused.content
    BudgetAlert.objects.create(
        key="module=mana:day:2026-11-25", percent=90, level="critical", unit="usd", limit=1, spent=1
    )
    assert b"has reached 90 % of its limit" in client.get(place).content
    for name in ("budgetalert", "budgetchange"):
        assert client.get(f"/admin/django_obc_ai/{name}/").status_code == 200
