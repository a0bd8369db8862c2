"""What the site's use of language models came to today."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from django.utils import timezone

from django_obc_ai.backends.providers import providers
from django_obc_ai.models import AIOperation
from django_obc_ai.services.costs import CostTracker


@dataclass(frozen=True, slots=True, kw_only=True)
class TodaysUsage:
    """Operations and US dollars since midnight in the site's time zone."""

    operations: int
    cost: Decimal
    is_offline: bool


def read_todays_usage() -> TodaysUsage:
    """Return today's figures from the ledger."""
    today = timezone.localdate()
    return TodaysUsage(
        operations=AIOperation.objects.between(today, today).count(),
        cost=CostTracker().get_daily_cost(),
        is_offline=providers["default"].is_offline,
    )


def is_asking_free() -> bool:
    """Return whether answers cost nothing, so that anyone may ask for one."""
    return providers["default"].is_free
