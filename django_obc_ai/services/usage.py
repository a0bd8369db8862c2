"""What the calls of one person, or of one tenant, came to."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django_obc_ai.models import Ledger
from django_obc_ai.types.nano import EXACT


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageSums:
    """Sums of calls.

    Attributes:
        calls: Operations of any outcome.
        failures: How many of them failed.
        cached: How many were answered from the cache.
        coalesced: How many were answered by another call.
        tokens: Billed tokens.
        cost_usd: US dollars, exact to the nano-dollar.
        day: The day they are of; None for all days together.
    """

    calls: int = 0
    failures: int = 0
    cached: int = 0
    coalesced: int = 0
    tokens: int = 0
    cost_usd: Decimal = Decimal(0)
    day: datetime.date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageReport:
    """What calls came to on some days.

    Attributes:
        first: The first day.
        last: The last day.
        scope: The tenant, or None for a person.
        total: Sums of all days.
        days: Those on which there was any call, in order.
    """

    first: datetime.date
    last: datetime.date
    scope: str | None
    total: UsageSums
    days: tuple[UsageSums, ...]


def read_usage(
    first: datetime.date, last: datetime.date, *, user: Any = None, scope: str | None = None
) -> UsageReport:
    """Add up the calls of one person, or of one tenant, purged ones included.

    Args:
        first: The first day, in the project's time zone.
        last: The last day.
        user: Whose calls, in whatever tenant.
        scope: Of which tenant, whoever called.

    Raises:
        ValueError: Not exactly one of user and scope is given, or the user has no key.
    """
    key = getattr(user, "pk", None)
    if (key is None) == (scope is None) or (user is not None and key is None):
        raise ValueError("Give a stored user or a scope: one of the two.")
    rows = Ledger.of_days(first, last, scope=scope, user_id=key).breakdown("day")
    days = tuple(
        UsageSums(
            calls=row["operations"],
            failures=row["failures"],
            cached=row["cached"],
            coalesced=row["coalesced"],
            tokens=row["tokens"],
            cost_usd=row["cost"],
            day=row["key"],
        )
        for row in rows
    )
    names = ("calls", "failures", "cached", "coalesced", "tokens")
    counts = {name: sum(getattr(each, name) for each in days) for name in names}
    cost = Decimal(0)
    for each in days:
        cost = EXACT.add(cost, each.cost_usd)
    total = UsageSums(**counts, cost_usd=cost)
    return UsageReport(first=first, last=last, scope=scope, total=total, days=days)
