"""Budgets for people who ask: how far today's and this month's money is used."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django_obc_ai.gateway import recovery
from django_obc_ai.gateway.alerts import CRITICAL_PERCENT

WARNING_PERCENT = 75


def check_budget_alert(
    spent: dict[str, Decimal], limits: dict[str, Decimal | float | str | None]
) -> dict[str, Any]:
    """Return alerts for periods that have used 75 % (warning) or 90 % (critical) of a limit.

    Args:
        spent: US dollars by period, for example "daily".
        limits: US dollars by period; None is no limit. Floats are taken by their decimals.

    Returns:
        ``has_alerts`` and ``alerts``: a list of ``type`` (the period), ``level``, ``spent``,
        ``budget``, ``percentage`` and ``message``, in the order of the limits.
    """
    found = []
    for period, limit in limits.items():
        if limit is None:
            continue
        budget, cost = Decimal(str(limit)), spent[period]
        # Any spending of a budget of nothing is too much.
        percent = cost * 100 / budget if budget > 0 else Decimal(100 if cost else 0)
        if percent < WARNING_PERCENT:
            continue
        level = "critical" if percent >= CRITICAL_PERCENT else "warning"
        found.append(
            {
                "type": period,
                "level": level,
                "spent": cost,
                "budget": budget,
                "percentage": percent,
                "message": f"The {period} budget of ${budget:f} is used to {percent:.1f} %.",
            }
        )
    return {"has_alerts": bool(found), "alerts": found}


def expire_holds(alias: str = "default") -> int:
    """Book the holds of dead processes now; calls do it by themselves from time to time.

    Returns:
        How many there were.

    Raises:
        CostStoreError: The store or the ledger cannot be asked.
    """
    return recovery.sweep(alias)
