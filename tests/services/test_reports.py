"""The daily report: seven days, modules, failures, what the cache saved; by print and by mail."""

from __future__ import annotations

import datetime
from decimal import Decimal
from io import StringIO
from typing import Any

import django
import pytest
from django.core import mail
from django.core.management import call_command
from django.test import override_settings

from django_obc_ai.services.costs import CostTracker, DailyCostReport
from tests.services.test_costs import _now_is, spend

pytestmark = pytest.mark.django_db
DAY = datetime.date(2026, 7, 15)


@pytest.fixture(autouse=True)
def _week() -> None:
    def put(cost: Any, at: str, **values: Any) -> None:
        spend(Decimal(cost), at, **{"model_used": "m", **values})

    put("0.40", "2026-07-14T02:00")
    put("9", "2026-07-08T02:00")  # the eighth day back
    put("0.75", "2026-07-15T02:00", module="mana")
    put("0.25", "2026-07-15T03:00", module="policies", cost_known=False)
    for hour, saved in ((4, "0.5"), (5, "0.25")):
        at = f"2026-07-15T0{hour}:00"
        put("0", at, module="mana", cached=True, saved_usd=Decimal(saved))


def test_the_report_shows_the_day_the_week_modules_cache_and_month() -> None:
    spend(0, "2026-07-15T06:00", module="mana", cached=False)
    from django_obc_ai.models import AIOperation

    AIOperation.objects.create(
        provider="p", success=False, error_category="timeout",
        created_at=datetime.datetime(2026, 7, 15, 7, tzinfo=datetime.UTC),
    )  # fmt: skip
    text = DailyCostReport(DAY).format_report()
    assert text.startswith(
        "AI costs of 2026-07-15 (Asia/Manila)\n"
        "$1.000000 for 6 calls: 2 answered from the cache, 1 failed\n"
        "1 of them have no known cost; presumed $0.250000\n"
    )
    week = text.partition("Last 7 days\n")[2].split("\n\n")[0].splitlines()
    assert len(week) == 7
    assert week[0] == "  Thu 2026-07-09     $0.000000"
    assert week[5].split() == ["Tue", "2026-07-14", "$0.400000", "#" * 10]
    assert week[6].split() == ["Wed", "2026-07-15", "$1.000000", "#" * 24]
    assert "  mana                     $0.750000   75%  4 calls\n" in text
    assert "  policies                 $0.250000   25%  1 calls\n" in text
    assert "Failures\n  timeout               1\n" in text
    assert "The cache answered 40% and saved $0.750000" in text
    assert "July: $10.400000 so far" in text


def test_a_day_without_calls_is_a_report_too() -> None:
    text = DailyCostReport(datetime.date(2020, 1, 1)).format_report()
    assert "$0.000000 for 0 calls" in text
    assert "Top modules" not in text and "Failures" not in text and "cache and" not in text


def test_its_day_is_the_projects_today(monkeypatch: pytest.MonkeyPatch) -> None:
    _now_is(monkeypatch, "2026-07-14T16:30")
    assert DailyCostReport().date == DAY


#: Django 5.2 wants pairs of name and address.
CHIEF: Any = "chief@example.org" if django.VERSION >= (6, 0) else ("Chief", "chief@example.org")


@override_settings(ADMINS=[CHIEF], DEFAULT_FROM_EMAIL="ai@example.org")
def test_it_is_mailed_to_whom_one_names_else_to_the_admins(monkeypatch: pytest.MonkeyPatch) -> None:
    _now_is(monkeypatch, "2026-07-15T16:05")  # five past midnight in Manila
    call_command("send_cost_report", "--to", "a@example.org", "b@example.org", stdout=StringIO())
    call_command("send_cost_report", stdout=StringIO())
    named, admins = mail.outbox
    assert named.to == ["a@example.org", "b@example.org"]
    assert named.subject == "AI costs of 2026-07-15"
    assert named.body == DailyCostReport(DAY).format_report()
    assert admins.to == ["chief@example.org"]


def test_it_is_printed_on_request() -> None:
    out = StringIO()
    call_command("send_cost_report", "--day", "2026-07-15", "--print", stdout=out)
    assert out.getvalue() == DailyCostReport(DAY).format_report()
    assert mail.outbox == []


def test_the_tracker_forecasts_by_tenant(monkeypatch: pytest.MonkeyPatch) -> None:
    _now_is(monkeypatch, "2026-07-15T10:00")
    spend(2, "2026-07-15T02:00", scope="office")
    found = CostTracker().forecast_by_scope()
    assert [(each.scope, each.spent_usd) for each in found] == [
        (None, Decimal("12.40")),
        ("office", 2),
    ]
    assert CostTracker().suggestions() == []
