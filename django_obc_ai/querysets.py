"""Query logic of the models; no other layer builds these figures."""

from __future__ import annotations

import datetime
import zoneinfo
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from django.conf import settings
from django.db import models
from django.db.models.functions import TruncDate
from django.utils import timezone

if TYPE_CHECKING:
    from django_obc_ai.models import AIOperation  # noqa: F401 - named in a string below

BreakdownKey: TypeAlias = Literal["module", "operation_type", "model", "user", "day"]
BREAKDOWN_FIELDS: dict[str, str] = {
    "module": "module",
    "operation_type": "operation_type",
    "model": "model_used",
    "user": "user_id",
    "day": "day",
}


def day_bounds(
    first: datetime.date, last: datetime.date
) -> tuple[datetime.datetime, datetime.datetime]:
    """Return [start, end) of the days first to last in the project's time zone.

    Local midnights become instants before anything is compared, so days of 23 and of 25
    hours come out right.
    """
    zone = zoneinfo.ZoneInfo(timezone.get_default_timezone_name())
    start = datetime.datetime.combine(first, datetime.time(), tzinfo=zone)
    end = datetime.datetime.combine(last + datetime.timedelta(days=1), datetime.time(), tzinfo=zone)
    if not settings.USE_TZ:  # the database holds local times without a zone
        return start.replace(tzinfo=None), end.replace(tzinfo=None)
    return start.astimezone(datetime.UTC), end.astimezone(datetime.UTC)


class AIOperationQuerySet(models.QuerySet["AIOperation"]):
    """Sums and breakdowns of the ledger; all sums are integer sums."""

    def between(self, first: datetime.date, last: datetime.date) -> AIOperationQuerySet:
        """Return the rows of the days first to last, in the project's time zone."""
        start, end = day_bounds(first, last)
        return self.filter(created_at__gte=start, created_at__lt=end)

    def total_cost(self) -> Decimal:
        """Return the summed cost in US dollars, exact to the nano-dollar."""
        total: Decimal = self.aggregate(total=models.Sum("cost_usd", default=Decimal(0)))["total"]
        return total

    def breakdown(self, by: BreakdownKey) -> list[dict[str, Any]]:
        """Return cost, operations and tokens by one property, dearest first.

        Days come in order of time. Each row has ``key``, ``cost`` (Decimal US dollars),
        ``operations``, ``failures``, ``cached`` and ``tokens``.
        """
        name = timezone.get_default_timezone_name()
        zone = zoneinfo.ZoneInfo(name) if settings.USE_TZ else None
        rows = self.annotate(day=TruncDate("created_at", tzinfo=zone)) if by == "day" else self
        column = BREAKDOWN_FIELDS[by]
        tokens = (
            models.F("input_tokens")
            + models.F("output_tokens")
            + models.F("thinking_tokens")
            + models.F("tool_tokens")
        )
        grouped = (
            rows.order_by()
            .values(key=models.F(column))
            .annotate(
                cost=models.Sum("cost_usd"),
                operations=models.Count("id"),
                failures=models.Count("id", filter=models.Q(success=False)),
                cached=models.Count("id", filter=models.Q(cached=True)),
                tokens=models.Sum(tokens),
            )
        )
        ordered = grouped.order_by("key" if by == "day" else "-cost", "key")
        return [dict(row) for row in ordered]
