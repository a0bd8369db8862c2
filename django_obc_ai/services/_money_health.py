"""The part of the health check that looks at money: cost stores, budgets, ledger, rollups."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.db import OperationalError, connections, transaction
from django.utils import timezone

from django_obc_ai.backends.cost_stores import cost_stores
from django_obc_ai.conf import get_settings
from django_obc_ai.exceptions import CostStoreError
from django_obc_ai.gateway import policy, recovery
from django_obc_ai.gateway.alerts import describe
from django_obc_ai.models import AIOperation, RollupMark
from django_obc_ai.services import _provider_health as asking
from django_obc_ai.services._provider_health import HealthItem
from django_obc_ai.services.budgets import WARNING_PERCENT
from django_obc_ai.services.figures import read_gauges

_PROBE = "django_obc_ai:health"
_MOST_NAMED = 3
_SETTLING_SECONDS = 0.3
_STEPS = 1_000  # of SQLite's machine between two looks at the clock
_sleep = time.sleep
#: The dashboard adds up what is left when it is opened; a week of that is worth a cron job.
ROLLUPS_BEHIND_AFTER = datetime.timedelta(days=7)


def check_cost_store(alias: str) -> HealthItem:
    """Say whether a cost store answers, and whether all processes see the same totals.

    Raises:
        ConfigurationError: It cannot be built.
    """
    name, store = f"cost store {alias}", cost_stores[alias]
    item = asking.describe(name, store, cost_stores.where(alias))
    if item.status == "error":
        return item
    try:
        store.totals([_PROBE])
    except CostStoreError as error:
        hint = "Until it answers, budgets refuse every call."
        return HealthItem(name=name, status="unknown", message=str(error), hint=hint)
    if not store.is_shared and not settings.DEBUG:
        message = f"{item.message} Each process has totals of its own, and may spend every budget."
        hint = "Use the database or the Redis cost store."
        return HealthItem(name=name, status="warning", message=message, hint=hint)
    return item


def check_budgets() -> HealthItem:
    """Say which budgets are used up, or nearly.

    Raises:
        CostStoreError: Nobody knows.
    """
    name, number, gauges = "budgets", len(policy.in_force()), read_gauges()
    if not number:
        return HealthItem(name=name, status="ok", message="There is none.")
    near = [each for each in gauges if each.used_percent >= WARNING_PERCENT]
    if near:
        told = "; ".join(f"{each.name}: {each.used_percent:.0f} %" for each in near[:_MOST_NAMED])
        more = len(near) - _MOST_NAMED
        told += f"; and {more} more" if more > 0 else ""
        hint = "What does not fit into an enforced budget is refused until its period is over."
        return HealthItem(
            name=name, status="warning", message=f"Used up, or nearly: {told}.", hint=hint
        )
    most = f"; the most used, {gauges[0].name}, to {gauges[0].used_percent:.0f} %" if gauges else ""
    return HealthItem(name=name, status="ok", message=f"{number} in force{most}.")


def check_drift(seconds: float) -> HealthItem:
    """Compare the cost store's totals with the ledger's sums of the present periods.

    Calls that end meanwhile change both, one after the other: what differs is looked at again.

    Raises:
        CostStoreError: One of the two cannot be asked.
        DatabaseError: The ledger cannot be read.
    """
    name = "ledger drift"
    try:
        with _limited(get_settings().database, seconds):
            first = _differing()
            if first:
                _sleep(_SETTLING_SECONDS)
            again = _differing() if first else {}
    except OperationalError as error:
        if not _is_late(error):
            raise
        message = f"The ledger takes longer than {seconds:g} seconds to add up."
        hint = "Run: manage.py reconcile_costs"
        return HealthItem(name=name, status="warning", message=message, hint=hint)
    differing = [key for key, amounts in again.items() if first.get(key) == amounts]
    if not differing:
        message = "Cost store and ledger agree."
        return HealthItem(name=name, status="ok", message=message)
    told = []
    for key in differing[:_MOST_NAMED]:
        ledger, store = (describe(policy.unit_of(key), each) for each in again[key])
        told.append(f"{key}: ledger {ledger}, store {store}")
    message = f"{len(differing)} totals differ. {'; '.join(told)}."
    hint = "Run: manage.py reconcile_costs --repair"
    return HealthItem(name=name, status="warning", message=message, hint=hint)


def _differing() -> dict[str, tuple[int, int]]:
    """Return ledger and store of the keys that differ and hold nothing for calls under way."""
    ledger = recovery.spent_by_key("default")
    totals = cost_stores["default"].totals(list(ledger))
    return {
        key: (spent, totals[key].spent_nano)
        for key, spent in ledger.items()
        if totals[key].spent_nano != spent and not totals[key].held_nano
    }


@contextmanager
def _limited(alias: str, seconds: float) -> Iterator[None]:
    """Let a database give up sums that nobody waits for any more, so that none pile up."""
    connection = connections[alias]
    if connection.in_atomic_block:  # the caller's
        yield
    elif connection.vendor == "postgresql":
        with transaction.atomic(using=alias):  # the limit ends with it, behind a pooler, too
            with connection.cursor() as cursor:
                milliseconds = str(max(1, int(seconds * 1000)))
                cursor.execute("SELECT set_config('statement_timeout', %s, true)", [milliseconds])
            yield
    elif connection.vendor == "sqlite":
        deadline = time.monotonic() + seconds
        connection.ensure_connection()
        connection.connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
        try:
            yield
        finally:
            connection.connection.set_progress_handler(None, 0)
    else:
        yield


def _is_late(error: OperationalError) -> bool:
    """Return whether a database gave up for the limit."""
    return getattr(error.__cause__, "sqlstate", "") == "57014" or "interrupted" in str(error)


def check_rollups() -> HealthItem:
    """Say how far the ledger is added up for the dashboard."""
    name = "rollups"
    through = RollupMark.objects.values_list("through", flat=True).filter(pk=1).first()
    rows = AIOperation.objects.order_by("created_at").values_list("created_at", flat=True)
    waiting = rows if through is None else rows.filter(created_at__gte=through)
    oldest = waiting.first()
    if oldest is not None and timezone.now() - oldest > ROLLUPS_BEHIND_AFTER:
        message = f"The ledger is not added up since {oldest:%Y-%m-%d}; the dashboard opens late."
        hint = "Run manage.py ai_rollup, once now and then every day."
        return HealthItem(name=name, status="warning", message=message, hint=hint)
    return HealthItem(name=name, status="ok", message="The dashboard has little to add up.")
