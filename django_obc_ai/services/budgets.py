"""Budgets for people who ask, and what tasks do for them."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import FieldDoesNotExist

from django_obc_ai.backends.cost_stores import cost_stores
from django_obc_ai.conf import BudgetSettings, get_settings
from django_obc_ai.gateway import alerts, policy, recovery
from django_obc_ai.gateway.alerts import CRITICAL_PERCENT
from django_obc_ai.gateway.budget import share_of
from django_obc_ai.querysets import current_day, default_zone
from django_obc_ai.services import rollups
from django_obc_ai.services.figures import values_of
from django_obc_ai.types import BudgetTotals, Unit

WARNING_PERCENT = 75
#: Keys that a cost store is asked for at once.
_AT_ONCE = 500
#: A budget for all time is looked at for what had operations within so long.
_LOOK_BACK = datetime.timedelta(days=35)


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


def expire_reservations() -> int:
    """Book the holds of dead processes in every cost store that is asked; see `expire_holds`.

    Raises:
        CostStoreError: A store or the ledger cannot be asked.
    """
    return sum(expire_holds(alias) for alias in _stores())


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetState:
    """A budget in its present period.

    Attributes:
        key: Of its total, for example "module=mana:day:2026-11-22".
        unit: Of the next three.
        limit: In nano-dollars, tokens or requests.
        spent: What is settled.
        held: What calls under way may still take.
        resets_at: When the period is over; None is never.
    """

    key: str
    unit: Unit
    limit: int
    spent: int
    held: int
    resets_at: datetime.datetime | None

    @property
    def percent(self) -> float:
        """Return what is spent, in percent of the limit."""
        if self.limit:
            return self.spent * 100 / self.limit
        return 100.0 if self.spent else 0.0


def check_budgets() -> list[BudgetState]:
    """Announce every threshold that is passed and was not announced; return all budgets.

    Calls announce what they pass themselves. This finds what a corrected price, a bill or a lowered
    limit has made pass. Each threshold is announced once, however many look at it.

    A budget for each module, user and so on is looked at for those that had operations within its
    period, and for every group.

    Returns:
        The most used first.

    Raises:
        CostStoreError: Budgets or totals cannot be read.
    """
    rollups.roll_up(most=1_000)
    now = datetime.datetime.now(datetime.UTC)
    found = {each.key: each for budget in policy.in_force() for each in _applied(budget, now)}
    states: dict[str, BudgetState] = {}
    for alias in _stores():
        totals = _totals(alias, list(found))
        alerts.announce(list(found.values()), totals, share_of(alias))
        for key, each in found.items():
            known = states.get(key)
            states[key] = BudgetState(
                key=key,
                unit=each.budget.unit,
                limit=each.limit,
                spent=totals[key].spent_nano + (known.spent if known else 0),
                held=totals[key].held_nano + (known.held if known else 0),
                resets_at=each.resets_at,
            )
    return sorted(states.values(), key=lambda each: (-each.percent, each.key))


def _stores() -> list[str]:
    stand_in = get_settings().money.stand_in
    return ["default"] if stand_in is None else ["default", stand_in]


def _applied(budget: BudgetSettings, now: datetime.datetime) -> Iterator[policy.Applied]:
    mark, start, end = policy.period(budget, now)
    for value in _values(budget, now - _LOOK_BACK if start is None else start):
        yield policy.Applied(
            budget=budget,
            key=policy.key_of(budget, value, mark),
            limit=policy.limit_of(budget),
            resets_at=end,
        )


def _values(budget: BudgetSettings, start: datetime.datetime) -> list[str]:
    if budget.scope != "group" or budget.key:
        return values_of(budget, start.astimezone(default_zone()).date(), current_day())
    try:
        groups: Any = get_user_model()._meta.get_field("groups").related_model
    except FieldDoesNotExist:
        return []
    return sorted(groups._default_manager.values_list("name", flat=True))


def _totals(alias: str, keys: list[str]) -> dict[str, BudgetTotals]:
    found: dict[str, BudgetTotals] = {}
    for start in range(0, len(keys), _AT_ONCE):
        found |= cost_stores[alias].totals(keys[start : start + _AT_ONCE])
    return found
