"""Holds: money is promised before a request is sent and settled after the answer."""

from __future__ import annotations

import datetime
import logging
import uuid
import zoneinfo
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from uuid import UUID

from django.utils import timezone

from django_obc_ai.backends.cost_stores import cost_stores
from django_obc_ai.conf import BudgetSettings, get_settings
from django_obc_ai.exceptions import BudgetExceededError, ConfigurationError, CostStoreError
from django_obc_ai.types import BudgetHold, nano_from_usd, usd_from_nano

logger = logging.getLogger("django_obc_ai.budget")


class Hold:
    """Money promised to one attempt; closed exactly once, by `settle`."""

    def __init__(self, reservation: UUID | None, ceiling_usd: Decimal) -> None:
        """Keep the reservation's id; None where no budget applies."""
        self._reservation = reservation
        self.ceiling_usd = ceiling_usd

    @property
    def is_remembered(self) -> bool:
        """Return whether a store remembers the hold if this process is killed."""
        return self._reservation is not None and cost_stores["default"].is_shared

    def settle(self, cost_usd: Decimal) -> None:
        """Book what the attempt cost, from 0 up.

        A store that fails keeps the hold, which counts as spent: the error is logged and
        the paid answer is not thrown away.
        """
        if self._reservation is None:
            return
        try:
            cost_stores["default"].settle(self._reservation, nano_from_usd(cost_usd))
        except CostStoreError:
            logger.exception("Reservation %s stays held: settling failed.", self._reservation)


NOTHING_HELD = Hold(None, Decimal(0))


def reserve(ceiling_usd: Decimal | None, at: datetime.datetime, *, model: str) -> Hold:
    """Hold the ceiling of an attempt under every budget.

    Args:
        ceiling_usd: Upper bound in US dollars, 0 for free calls; None if unknown.
        at: The attempt's time, which selects the period.
        model: For the message when the price is unknown.

    Raises:
        BudgetExceededError: A hard budget would be passed; nothing is held.
        ConfigurationError: The model has no price and a hard budget is in force.
        CostStoreError: The store cannot be asked.
    """
    budgets = get_settings().budgets
    if not budgets or ceiling_usd == 0:
        return Hold(None, ceiling_usd or Decimal(0))
    if ceiling_usd is None:
        if any(budget.enforce for budget in budgets):
            raise ConfigurationError(
                f"The model {model!r} has no price, so no budget can hold its cost.",
                hint=f"Give one in OBC_AI['PRICES'][{model!r}].",
            )
        ceiling_usd = Decimal(0)  # soft budgets count what it turns out to be
    holds: dict[str, BudgetHold] = {}
    for budget in budgets:
        key = period_key(budget, at)
        limit = nano_from_usd(budget.limit_usd, rounding=ROUND_FLOOR) if budget.enforce else None
        known = holds.get(key)
        if known is not None and known.limit_nano is not None:
            limit = known.limit_nano if limit is None else min(limit, known.limit_nano)
        holds[key] = BudgetHold(key=key, limit_nano=limit)
    reservation = uuid.uuid4()
    store = cost_stores["default"]
    amount = nano_from_usd(ceiling_usd, rounding=ROUND_CEILING)
    refused = store.reserve(reservation, list(holds.values()), amount)
    if refused is None:
        return Hold(reservation, ceiling_usd)
    totals = store.totals([refused.key])[refused.key]
    allowed = usd_from_nano(refused.limit_nano or 0)
    raise BudgetExceededError(
        f"The budget {refused.key} of ${allowed:f} has ${usd_from_nano(totals.spent_nano):f}"
        f" spent and ${usd_from_nano(totals.held_nano):f} held; this call may cost"
        f" ${ceiling_usd:f}. Nothing was sent. Raise the limit in OBC_AI['BUDGETS'], lower"
        " max_output_tokens, or wait for the next period."
    )


def period_key(budget: BudgetSettings, at: datetime.datetime) -> str:
    """Return the key of a budget's period at a time, in the project's time zone."""
    local = at.astimezone(zoneinfo.ZoneInfo(timezone.get_default_timezone_name()))
    marks = {
        "hour": at.astimezone(datetime.UTC).strftime("%Y-%m-%dT%HZ"),  # never ambiguous
        "day": local.strftime("%Y-%m-%d"),
        "week": local.strftime("%G-W%V"),
        "month": local.strftime("%Y-%m"),
        "total": "always",
    }
    return f"{budget.scope}:{budget.period}:{marks[budget.period]}"
