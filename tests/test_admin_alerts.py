"""Alerts that are acknowledged, and menus that name only what somebody may see."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse

from django_obc_ai.models import BudgetAlert
from tests.test_admin import _client, text_of
from tests.test_admin_operators import said, url

pytestmark = pytest.mark.django_db


def alert(percent: int) -> BudgetAlert:
    return BudgetAlert.objects.create(
        key="global:day:2026-11-28", percent=percent, level="warning", unit="usd", limit=5, spent=4
    )


def acknowledge(client: Client, *alerts: BudgetAlert) -> str:
    action = {"action": "acknowledge", "_selected_action": [str(each.pk) for each in alerts]}
    return text_of(client.post(url("budgetalert", "changelist"), action, follow=True))


def test_an_acknowledged_alert_reminds_nobody_until_the_next() -> None:
    client = _client("view_budgetalert", "change_budgetalert", "view_budget")
    first = alert(75)
    assert "has reached 75 %" in text_of(client.get(url("budget", "changelist")))
    assert "Acknowledged: 1 of 1." in acknowledge(client, first)
    first.refresh_from_db()
    assert first.acknowledged_by == "staff0" and first.acknowledged_at is not None
    assert said() == [("staff0", str(first), "Acknowledged.")]
    assert "has reached" not in text_of(client.get(url("budget", "changelist")))
    assert "Acknowledged: 0 of 1." in acknowledge(client, first)  # only once
    assert len(said()) == 1
    second = alert(90)
    assert "has reached 90 %" in text_of(client.get(url("budget", "changelist")))
    acknowledge(client, second)
    assert "has reached" not in text_of(client.get(url("budget", "changelist")))


def test_acknowledging_takes_the_permission_to_change() -> None:
    client, waiting = _client("view_budgetalert"), alert(75)
    page = acknowledge(client, waiting)
    assert 'value="acknowledge"' not in page
    waiting.refresh_from_db()
    assert waiting.acknowledged_at is None
    assert not LogEntry.objects.exists()


def test_menus_name_only_what_somebody_may_see() -> None:
    page = text_of(_client("view_aioperation").get(reverse("admin:index")))
    assert url("aioperation", "changelist") in page
    for model in ("indexstate", "providerpause", "budgetalert"):
        assert url(model, "changelist") not in page
    page = text_of(_client(is_superuser=True).get(reverse("admin:index")))
    assert url("providerpause", "changelist") in page
    assert url("providerpause", "add") not in page  # nobody adds a provider
