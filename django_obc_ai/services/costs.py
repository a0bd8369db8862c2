"""What calls cost, read from the ledger."""

from __future__ import annotations

import calendar
import datetime
from decimal import Decimal
from typing import Any

from django_obc_ai.conf import suggest
from django_obc_ai.models import Ledger
from django_obc_ai.querysets import BREAKDOWN_FIELDS, BreakdownKey, current_day
from django_obc_ai.services import budgets
from django_obc_ai.services.forecasts import Forecast, forecast_month
from django_obc_ai.services.reports import DailyCostReport
from django_obc_ai.services.suggestions import Suggestion, suggest_savings

__all__ = ["CostTracker", "DailyCostReport"]


class CostTracker:
    """Sums of all operations, purged ones included, in the project's time zone (``TIME_ZONE``).

    Amounts are ``Decimal`` US dollars, added as integers and exact to the nano-dollar.
    """

    def get_daily_cost(self, date: datetime.date | None = None) -> Decimal:
        """Return the cost of one day; today's if none is given."""
        day = date or current_day()
        return Ledger.of_days(day, day).total_cost()

    def get_monthly_cost(self, year: int | None = None, month: int | None = None) -> Decimal:
        """Return the cost of one month; missing parts are today's.

        Raises:
            ValueError: There is no such month.
        """
        today = current_day()
        first = datetime.date(
            today.year if year is None else year, today.month if month is None else month, 1
        )
        last = first.replace(day=calendar.monthrange(first.year, first.month)[1])
        return Ledger.of_days(first, last).total_cost()

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
            ``cached``, ``coalesced`` and ``tokens``; dearest first, days in order of time.

        Raises:
            ValueError: ``by`` is unknown, or end lies before start.
        """
        if by not in BREAKDOWN_FIELDS:
            raise ValueError(f"Costs have no breakdown by {by!r}. {suggest(by, BREAKDOWN_FIELDS)}")
        if end < start:
            raise ValueError(f"The end {end} lies before the start {start}.")
        return Ledger.of_days(start, end).breakdown(by)

    def forecast(self, scope: str | None = None) -> Forecast:
        """Return what this month will cost by its end; see `forecast_month`.

        Args:
            scope: One tenant; None takes all together.
        """
        return forecast_month(scope=scope)

    def forecast_by_scope(self) -> list[Forecast]:
        """Return the forecast of all together, then that of each tenant that spent this month."""
        today = current_day()
        rows = Ledger.of_days(today.replace(day=1), today).breakdown("scope")
        return [self.forecast(), *(self.forecast(row["key"]) for row in rows if row["key"])]

    def suggestions(self, days: int = 30) -> list[Suggestion]:
        """Return ways to have spent less over the last days, the largest saving first."""
        return suggest_savings(days)
