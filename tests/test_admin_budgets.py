"""Budgets in the admin, where the package's tables lie in a database of their own."""

from __future__ import annotations

from decimal import Decimal

import pytest
from django.test import override_settings
from django.urls import reverse

from django_obc_ai.gateway import policy
from django_obc_ai.models import Budget, BudgetChange
from tests.test_admin import _client, text_of

FACTS = {
    "scope": "global", "key": "", "period": "day", "limit_usd": "5", "enforce": "on",
    "alert_percent": "[80, 100]", "time_zone": "",
}  # fmt: skip


@pytest.mark.django_db(databases=["default", "postgres"])
def test_a_budget_is_added_to_the_database_that_calls_read(postgres_alias: str) -> None:
    client = _client(is_superuser=True)
    with override_settings(OBC_AI={"DATABASE": postgres_alias}):
        policy._read.clear()
        response = client.post(reverse("admin:django_obc_ai_budget_add"), FACTS)
        assert response.status_code == 302, text_of(response)
        (budget,) = Budget.objects.using(postgres_alias)
        assert not Budget.objects.using("default").exists()
        assert [(each.scope, each.period) for each in policy.in_force()] == [("global", "day")]
        assert BudgetChange.objects.using(postgres_alias).count() == 1
        assert "global" in text_of(client.get(reverse("admin:django_obc_ai_budget_changelist")))
        change = reverse("admin:django_obc_ai_budget_change", args=[budget.pk])
        assert client.post(change, {**FACTS, "limit_usd": "7"}).status_code == 302
        assert [each.limit_usd for each in Budget.objects.using(postgres_alias)] == [Decimal(7)]
        gone = reverse("admin:django_obc_ai_budget_delete", args=[budget.pk])
        assert client.post(gone, {"post": "yes"}).status_code == 302
        assert not Budget.objects.using(postgres_alias).exists()
        assert BudgetChange.objects.using(postgres_alias).count() == 3
    policy._read.clear()


@pytest.mark.django_db(databases=["default", "postgres"])
def test_a_budget_that_is_saved_in_code_goes_there_too(postgres_alias: str) -> None:
    with override_settings(OBC_AI={"DATABASE": postgres_alias}):
        Budget(scope="global", period="day", limit_usd=Decimal(5)).save()
        Budget(scope="global", period="month", limit_usd=Decimal(9)).save(using="default")
    assert [each.period for each in Budget.objects.using(postgres_alias)] == ["day"]
    assert [each.period for each in Budget.objects.using("default")] == ["month"]
