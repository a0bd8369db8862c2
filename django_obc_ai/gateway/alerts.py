"""Thresholds of budgets: announced once per scope, threshold and period.

The store says after each settlement what its keys have spent now. A process that knows a
threshold as announced does nothing; else the unique row decides who announces it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from django.conf import settings
from django.core.mail import send_mail
from django.db import connections, transaction
from django.utils import timezone

from django_obc_ai.conf import get_settings
from django_obc_ai.gateway.policy import Applied
from django_obc_ai.logs import events
from django_obc_ai.logs.event import name_of
from django_obc_ai.models import BudgetAlert
from django_obc_ai.models.connections import persist
from django_obc_ai.signals import budget_threshold_reached
from django_obc_ai.types import BudgetTotals, usd_from_nano

CRITICAL_PERCENT = 90
_MOST_KNOWN = 10_000
_known: dict[tuple[str, str, int], None] = {}  # (database, key, percent)


def announce(
    found: Sequence[Applied], totals: Mapping[str, BudgetTotals], share: Callable[[int], int]
) -> None:
    """Announce every threshold that is reached and was not announced yet; never raises.

    Args:
        found: The budgets that the call fell under.
        totals: What the store says after the settlement.
        share: How much of a limit that store may admit.
    """
    for each in found:
        spent, limit = totals.get(each.key, BudgetTotals()).spent_nano, share(each.limit)
        for percent in each.budget.alert_percent:
            if spent and spent * 100 >= limit * percent:
                _announce_once(each, percent, spent, limit)


def _announce_once(each: Applied, percent: int, spent: int, limit: int) -> None:
    database = get_settings().database
    known = (database, each.key, percent)
    if known in _known:
        return
    resets_at = each.resets_at
    if resets_at is not None and not settings.USE_TZ:
        resets_at = timezone.make_naive(resets_at)
    alert = BudgetAlert(
        key=each.key,
        percent=percent,
        level=level_of(percent),
        unit=each.budget.unit,
        limit=limit,
        spent=spent,
        resets_at=resets_at,
    )

    def insert() -> bool:
        with transaction.atomic(using=database):
            BudgetAlert.objects.bulk_create([alert], ignore_conflicts=True)
        return BudgetAlert.objects.filter(pk=alert.pk).exists()

    try:
        is_first = persist(database, insert)
    except Exception as error:  # noqa: BLE001 - the call is paid for, and its answer is awaited
        events.BUDGET_ALERT_NOT_STORED.log(error=error, key=each.key, percent=percent)
        return
    if not connections[database].in_atomic_block:  # a rollback would forget the row
        while len(_known) >= _MOST_KNOWN:
            _known.pop(next(iter(_known)), None)
        _known[known] = None
    if is_first:
        _tell(alert)


def level_of(percent: int) -> str:
    """Return "critical" from 90 % on, else "warning"."""
    return "critical" if percent >= CRITICAL_PERCENT else "warning"


def describe(unit: str, amount: int) -> str:
    """Return an amount of a budget for people."""
    if unit != "usd":
        return f"{amount:,} {unit}"
    dollars = f"{usd_from_nano(amount):.9f}".rstrip("0")
    whole, _, cents = dollars.partition(".")
    return f"${whole}.{cents:0<2}"


def text_of(alert: BudgetAlert) -> str:
    """Return an alert as one sentence."""
    end = f" It resets at {alert.resets_at:%Y-%m-%d %H:%M %Z}." if alert.resets_at else ""
    return (
        f"The budget {alert.key} has spent {describe(alert.unit, alert.spent)} of"
        f" {describe(alert.unit, alert.limit)}, {alert.percent} % or more.{end}"
    )


def _tell(alert: BudgetAlert) -> None:
    is_critical = alert.level == "critical"
    event = events.BUDGET_THRESHOLD_CRITICAL if is_critical else events.BUDGET_THRESHOLD
    event.log(text=text_of(alert), key=alert.key, percent=alert.percent)
    for receiver, result in budget_threshold_reached.send_robust(BudgetAlert, alert=alert):
        if isinstance(result, Exception):
            events.BUDGET_RECEIVER_FAILED.log(error=result, receiver=name_of(receiver))
    addresses = get_settings().money.alert_emails
    if not addresses:
        return
    try:
        send_mail(
            f"AI budget: {alert.percent} % of {alert.key}", text_of(alert), None, list(addresses)
        )
    except Exception as error:  # noqa: BLE001 - mail must not cost an answer that is paid for
        events.BUDGET_MAIL_FAILED.log(error=error, key=alert.key)
