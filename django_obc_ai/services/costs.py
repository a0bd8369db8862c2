"""What calls cost, read from the ledger."""

from __future__ import annotations

import calendar
import datetime
from decimal import Decimal
from typing import Any

from django.utils import timezone

from django_obc_ai.conf import suggest
from django_obc_ai.models import AIOperation
from django_obc_ai.querysets import BREAKDOWN_FIELDS, BreakdownKey
from django_obc_ai.services import budgets


def _today() -> datetime.date:
    now = timezone.now()  # without a zone where USE_TZ is False
    return timezone.localdate(now, timezone.get_default_timezone()) if now.tzinfo else now.date()


class CostTracker:
    """Sums of `AIOperation` in the project's time zone (``TIME_ZONE``).

    Amounts are ``Decimal`` US dollars, added as integers and exact to the nano-dollar.
    """

    def get_daily_cost(self, date: datetime.date | None = None) -> Decimal:
        """Return the cost of one day; today's if none is given."""
        day = date or _today()
        return AIOperation.objects.between(day, day).total_cost()

    def get_monthly_cost(self, year: int | None = None, month: int | None = None) -> Decimal:
        """Return the cost of one month; missing parts are today's.

        Raises:
            ValueError: There is no such month.
        """
        today = _today()
        first = datetime.date(
            today.year if year is None else year, today.month if month is None else month, 1
        )
        last = first.replace(day=calendar.monthrange(first.year, first.month)[1])
        return AIOperation.objects.between(first, last).total_cost()

    def check_budget_alert(
        self,
        daily_budget: Decimal | float | str | None = None,
        monthly_budget: Decimal | float | str | None = None,
    ) -> dict[str, Any]:
        """Return alerts for today and this month; see `services.budgets.check_budget_alert`."""
        return budgets.check_budget_alert(
            {"daily": self.get_daily_cost(), "monthly": self.get_monthly_cost()},
            {"daily": daily_budget, "monthly": monthly_budget},
        )

    def get_cost_breakdown(
        self, start: datetime.date, end: datetime.date, by: BreakdownKey = "module"
    ) -> list[dict[str, Any]]:
        """Return costs by one property for the days start to end, both included.

        Returns:
            Rows with ``key``, ``cost`` (Decimal US dollars), ``operations``, ``failures``,
            ``cached`` and ``tokens``; dearest first, days in order of time.

        Raises:
            ValueError: ``by`` is unknown, or end lies before start.
        """
        if by not in BREAKDOWN_FIELDS:
            raise ValueError(f"Costs have no breakdown by {by!r}. {suggest(by, BREAKDOWN_FIELDS)}")
        if end < start:
            raise ValueError(f"The end {end} lies before the start {start}.")
        return AIOperation.objects.between(start, end).breakdown(by)
