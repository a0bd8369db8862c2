"""Holds as dead processes leave them, and what the books say then."""

from __future__ import annotations

import datetime
import uuid
from decimal import Decimal
from typing import Any

from django.utils import timezone

from django_obc_ai.backends.cost_stores import cost_stores
from django_obc_ai.gateway import budget, ledger
from django_obc_ai.models import AIOperation
from django_obc_ai.types import (
    CallInfo,
    CallOutcome,
    GenerationRequest,
    Usage,
)
from tests.gateway.test_budget_scopes import entry

TOTAL = [entry(period="total", limit_usd="0.001")]
KEY = "global:total:always"
STORES = "django_obc_ai.backends.cost_stores"


def totals() -> tuple[int, int]:
    found = cost_stores["default"].totals([KEY])[KEY]
    return found.spent_nano, found.held_nano


def held_by_the_dead(operation: uuid.UUID | None = None, **changes: Any) -> budget.Hold:
    """A hold as a process leaves it that is killed during its call."""
    info = CallInfo(operation_id=operation or uuid.uuid4(), module="mana")
    now = datetime.datetime.now(datetime.UTC)
    return budget.reserve(
        budget.Attempt(
            ceiling_usd=Decimal("0.0004"),
            tokens=100,
            model="scripted",
            info=info,
            at=now,
            **changes,
        )
    )


def record(operation: uuid.UUID, cost: str) -> None:
    """Write the row of a call that has come to its end, as its process does."""
    outcome = CallOutcome(
        text="A",
        usage=Usage(input_tokens=1, output_tokens=20),
        cost_usd=Decimal(cost),
        started_at=timezone.now(),
        attempts=1,
    )
    info = CallInfo(operation_id=operation, module="mana")
    ledger.record(GenerationRequest(prompt="Q", model="scripted"), info, outcome)


def rows() -> list[tuple[Decimal, bool, bool]]:
    values = AIOperation.objects.values_list("cost_usd", "cost_known", "success")
    return [(cost, is_known, success) for cost, is_known, success in values]


def pass_the_lease() -> None:
    store = cost_stores["default"]
    now = datetime.datetime.now(datetime.UTC).timestamp() + store.lease_seconds + 1
    store.clock = lambda: now
