"""A day's costs on one page, for people and for e-mail."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from django.core.mail import mail_admins, send_mail
from django.utils import timezone

from django_obc_ai.models import Ledger
from django_obc_ai.querysets import current_day
from django_obc_ai.services._claims import claimed_once
from django_obc_ai.services.forecasts import forecast_month
from django_obc_ai.services.ledger import drain_spool

_TREND_DAYS = 7
_MODULES = 5
_BAR = 24
#: After so long without a sign of life a sender counts as dead.
_SENDER_SECONDS = 300.0


class DailyCostReport:
    """What one day cost, beside the six days before it."""

    def __init__(self, date: datetime.date | None = None) -> None:
        """Name the day; the project's today if none is given."""
        self.date = date or current_day()

    def format_report(self) -> str:
        """Return the report as plain text: no prompt, no answer and no person is in it."""
        first = self.date - datetime.timedelta(days=_TREND_DAYS - 1)
        week = Ledger.of_days(first, self.date)
        day = Ledger.of_days(self.date, self.date)
        parts = [
            self._summary(day),
            self._trend(week, first),
            self._modules(day),
            self._failures(day),
            self._cache(day),
            self._month(),
        ]
        return "\n\n".join(part for part in parts if part) + "\n"

    def send(self, recipients: Sequence[str] = ()) -> None:
        """E-mail the report; without recipients it goes to ``ADMINS``.

        Raises:
            OSError: The mail server cannot be reached or refused it.
        """
        subject = f"AI costs of {self.date}"
        if recipients:
            send_mail(subject, self.format_report(), None, list(recipients))
        else:
            mail_admins(subject, self.format_report())

    def _summary(self, day: Ledger) -> str:
        rows = day.breakdown("module")
        calls, cached, coalesced, failed = (
            sum(row[name] for row in rows)
            for name in ("operations", "cached", "coalesced", "failures")
        )
        answered = f"{cached} answered from the cache, {failed} failed"
        if coalesced:
            answered = f"{coalesced} answered together with another, {answered}"
        lines = [
            f"AI costs of {self.date} ({timezone.get_default_timezone_name()})",
            f"{_usd(day.total_cost())} for {calls} calls: {answered}",
        ]
        count, presumed = day.presumed()
        if count:
            lines.append(f"{count} of them have no known cost; presumed {_usd(presumed)}")
        return "\n".join(lines)

    def _trend(self, week: Ledger, first: datetime.date) -> str:
        found = {row["key"]: row["cost"] for row in week.breakdown("day")}
        days = [first + datetime.timedelta(days=n) for n in range(_TREND_DAYS)]
        costs = [found.get(day, Decimal(0)) for day in days]
        most = max(costs)
        bars = ["#" * (round(_BAR * cost / most) if most else 0) for cost in costs]
        lines = [
            f"  {day:%a} {day}  {_usd(cost):>12}  {bar}".rstrip()
            for day, cost, bar in zip(days, costs, bars, strict=True)
        ]
        return "\n".join(["Last 7 days", *lines])

    def _modules(self, day: Ledger) -> str:
        rows = [row for row in day.breakdown("module") if row["cost"]]
        total = sum((row["cost"] for row in rows), Decimal(0))
        lines = [
            f"  {row['key']:<20}  {_usd(row['cost']):>12}  {row['cost'] / total:4.0%}"
            f"  {row['operations']} calls"
            for row in rows[:_MODULES]
        ]
        return "\n".join(["Top modules", *lines]) if lines else ""

    def _failures(self, day: Ledger) -> str:
        rows: list[dict[str, Any]] = day.failures_by_category()
        lines = [f"  {row['error_category']:<20}  {row['count']}" for row in rows]
        return "\n".join(["Failures", *lines]) if lines else ""

    def _cache(self, day: Ledger) -> str:
        rows = day.breakdown("module")
        calls, hits, coalesced = (
            sum(row["operations"] - row["failures"] for row in rows),
            sum(row["cached"] for row in rows),
            sum(row["coalesced"] for row in rows),
        )
        if not (hits or coalesced):
            return ""
        text = f"The cache answered {hits / calls:.0%}"
        text += f", calls that asked the same {coalesced / calls:.0%}" if coalesced else ""
        return f"{text} and saved {_usd(day.total_saved())}"

    def _month(self) -> str:
        found = forecast_month(today=self.date)
        text = f"{found.month:%B}: {_usd(found.spent_usd)} so far,"
        text += f" about ${found.expected_usd} expected"
        if found.low_usd is not None and found.high_usd is not None:
            text += f" ({found.level:.0%}: ${found.low_usd:.2f} to ${found.high_usd})"
        return text


def send_cost_report(day: str = "") -> bool:
    """Send the report of a day to ``ADMINS``, once for each day however often it is called.

    A mail server that fails leaves it to the next call. So does a process that dies meanwhile,
    after a few minutes; if it had sent the mail already, there is a second one.

    Args:
        day: "YYYY-MM-DD" in the project's time zone; "": yesterday.

    Returns:
        Whether it was sent now.

    Raises:
        ValueError: It is no day, or the day is not over.
        OSError: The mail server cannot be reached or refused it.
    """
    today = current_day()
    date = datetime.date.fromisoformat(day) if day else today - datetime.timedelta(days=1)
    if date >= today:
        raise ValueError(f"The day {date} is not over, and its report is sent once.")
    with claimed_once("send_cost_report", str(date), seconds=_SENDER_SECONDS) as is_mine:
        if is_mine:
            drain_spool()
            DailyCostReport(date).send()
    return is_mine


def _usd(amount: Decimal) -> str:
    return f"${amount:,.6f}"
