"""Purging operations: they go, and no sum of money, no figure and no budget changes."""

from __future__ import annotations

import datetime
import io
import random
import threading
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from django.core.cache import caches
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connections, transaction
from django.utils import timezone

from django_obc_ai.gateway import recovery
from django_obc_ai.gateway.cache import key_of
from django_obc_ai.models import AIOperation, CostCorrection, OperationRollup
from django_obc_ai.models.ledger import Ledger
from django_obc_ai.querysets import BREAKDOWN_FIELDS
from django_obc_ai.services import retention, rollups
from django_obc_ai.services.costs import CostTracker, DailyCostReport
from django_obc_ai.services.reconciliation import reconcile
from tests.services import test_rollups
from tests.services.test_rollups import DAY, NOW, operation, tallied

pytestmark = pytest.mark.django_db(transaction=True)
FIRST, LAST = DAY - datetime.timedelta(days=1), DAY + datetime.timedelta(days=5)
TWO_DAYS = datetime.timedelta(days=2)
SCOPES = ("global", "module", "operation_type", "model", "user", "tenant")
COUNTED = (("total", "limit_usd"), ("total", "limit_tokens"), ("week", "limit_requests"))
BUDGETS = [
    {"scope": scope, "period": period, limit: 10**6}
    for scope in SCOPES
    for period, limit in (
        ("total", "limit_usd"),
        ("total", "limit_tokens"),
        ("week", "limit_requests"),
    )
]


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[datetime.datetime]:
    now = [NOW]
    monkeypatch.setattr(timezone, "now", lambda: now[0])
    monkeypatch.setattr(retention, "_sleep", lambda seconds: None)
    return now


def fill(seed: int) -> list[AIOperation]:
    rows = test_rollups.fill(seed)
    # Of a provider that nobody can ask any more whether its calls are free: they count as paid.
    AIOperation.objects.update(provider="gone")
    return rows


def books() -> dict[str, Any]:
    """Every sum that anybody can ask for."""
    tracker = CostTracker()
    days = [FIRST + datetime.timedelta(days=n) for n in range((LAST - FIRST).days + 1)]
    found: dict[str, Any] = {
        by: tracker.get_cost_breakdown(FIRST, LAST, by=by)  # type: ignore[arg-type]  # each of them
        for by in BREAKDOWN_FIELDS
    }
    found["month"] = tracker.get_monthly_cost(2026, 3)
    found["days"] = [tracker.get_daily_cost(day) for day in days]
    found["reports"] = [DailyCostReport(day).format_report() for day in days]
    # How much of it was purged is all that a purge changes.
    found["drift"] = [replace(each, purged_usd=0) for each in reconcile(FIRST, LAST).rows]
    found["budgets"] = recovery.spent_by_key()
    rollups.roll_up()
    found["figures"] = rollups.read_days(FIRST, LAST)
    return found


def purge(**values: Any) -> retention.PurgeReport:
    return retention.purge_operations(TWO_DAYS, **values)


@pytest.fixture
def budgets(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from django_obc_ai.gateway import policy

    settings.OBC_AI = {"BUDGETS": BUDGETS}
    monkeypatch.setattr(
        recovery.policy, "periods_at", lambda now, real=policy.periods_at: real(NOW)
    )


@pytest.mark.parametrize(("seed", "zone"), [(0, "Asia/Manila"), (1, "America/New_York")])
def test_no_sum_changes_when_operations_go(
    zone: str, seed: int, settings: Any, budgets: None
) -> None:
    settings.TIME_ZONE = zone
    fill(seed)
    before = books()
    old = AIOperation.objects.filter(created_at__lt=NOW - TWO_DAYS).count()
    assert old > 100
    report = purge(most=70)
    assert report.deleted == 70
    assert books() == before
    assert purge() == retention.PurgeReport(deleted=old - 70, left=0, batches=1)
    assert AIOperation.objects.count() == 300 - old
    assert books() == before


def test_budgets_that_count_purged_operations_are_not_empty(budgets: None) -> None:
    """The test above would not notice sums that were 0 all along."""
    fill(1)
    purge()
    AIOperation.objects.all().delete()
    spent = recovery.spent_by_key()
    assert sum(amount > 0 for amount in spent.values()) > 20


def test_the_rows_that_stay_and_those_that_went_are_the_tally_by_hand() -> None:
    rows = fill(5)
    purge()
    rollups.roll_up()
    whole = rollups.Tally()
    for each in rollups.read_days(FIRST, LAST).values():
        whole.merge(each)
    wanted = tallied(rows)
    assert whole.sums["cost_nano"] == wanted["cost_nano"]
    assert whole.errors == wanted["errors"]
    assert {name: whole.by[name] for name in wanted["by"]} == wanted["by"]
    assert whole.slowest == wanted["slowest"]


def test_a_row_that_comes_late_into_a_purged_quarter_is_added(
    clock: list[datetime.datetime], budgets: None
) -> None:
    fill(2)
    purge()
    before = rollups.read_days(FIRST, LAST)
    late = operation(random.Random(9), NOW - datetime.timedelta(days=4))
    late.recorded_at = clock[0]
    late.save()
    rollups.roll_up()
    day = timezone.localdate(late.created_at)
    after = rollups.read_days(FIRST, LAST)
    added = after[day].sums["operations"] - before[day].sums["operations"]
    assert added == 1
    # It was recorded a moment ago and stays until its quarter was surely added up with it.
    assert purge() == retention.PurgeReport(deleted=0, left=1, batches=1)
    everything = books()
    clock[0] += datetime.timedelta(minutes=30)
    assert retention.purge_operations(TWO_DAYS + datetime.timedelta(minutes=30)).deleted == 1
    clock[0] = NOW
    assert books() == everything


def test_a_batch_that_fails_leaves_all_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    fill(3)
    before = books()
    real = retention._add

    def fail(rows: Any, rollups: Any) -> None:
        real(rows, rollups)
        raise DatabaseError("The disk is full.")

    monkeypatch.setattr(retention, "_add", fail)
    with pytest.raises(DatabaseError):
        purge()
    assert not OperationRollup.objects.filter(purged__isnull=False).exists()
    assert AIOperation.objects.count() == 300
    monkeypatch.undo()
    monkeypatch.setattr(timezone, "now", lambda: NOW)
    assert books() == before


def test_what_leads_to_a_cached_answer_stays_as_long_as_the_answer() -> None:
    """Without it nobody could take the answer out of the cache when its user is erased."""
    rows = fill(7)
    for row in rows[:2]:
        AIOperation.objects.filter(pk=row.pk).update(
            cache_entry=row.pk, created_at=NOW - datetime.timedelta(days=4)
        )
    caches["default"].set(key_of(rows[0].pk), {"text": "An answer"}, None)
    assert purge().left == 1
    assert AIOperation.objects.filter(pk=rows[0].pk).exists()
    assert not AIOperation.objects.filter(pk=rows[1].pk).exists()
    caches["default"].delete(key_of(rows[0].pk))
    assert (purge().deleted, purge().left) == (1, 0)


def test_the_breakdown_orders_values_of_equal_cost_and_no_value() -> None:
    for model in ("", "b", "a"):
        row = operation(random.Random(1), NOW - datetime.timedelta(days=3))
        row.model_used, row.cost_usd, row.success, row.cached = model, 0, True, False
        row.save()
    before = CostTracker().get_cost_breakdown(FIRST, LAST, by="model")
    purge()
    assert CostTracker().get_cost_breakdown(FIRST, LAST, by="model") == before
    assert [each["key"] for each in before] == ["", "a", "b"]


def test_corrections_go_with_their_operations() -> None:
    rows = fill(4)
    CostCorrection.objects.bulk_create(
        CostCorrection(
            operation=each,
            kind="billed",
            old_cost_usd=0,
            new_cost_usd=1,
            was_cost_known=False,
            reason="",
            made_by="",
            run=each.pk,
        )
        for each in rows
    )
    purge()
    assert CostCorrection.objects.count() == AIOperation.objects.count()


def test_a_bill_changes_nothing_that_was_purged(clock: list[datetime.datetime]) -> None:
    """What went with a presumed cost keeps it; the rest of the bill goes to the rows there are."""
    from django_obc_ai.services.reconciliation import BilledRow

    began = NOW - datetime.timedelta(days=3)
    chance = random.Random(1)
    for minutes in (0, 300):
        row = operation(chance, began + datetime.timedelta(minutes=minutes))
        row.model_used, row.cached, row.cost_usd, row.cost_known = "a", False, 3, False
        row.save()
    day = timezone.localdate(began)
    assert timezone.localdate(began + datetime.timedelta(minutes=300)) == day
    retention.purge_operations(datetime.timedelta(days=2, hours=22))
    (left,) = AIOperation.objects.all()
    bill = [BilledRow(day=day, model="a", cost_usd=Decimal("4.5"))]
    result = reconcile(day, day, bill=bill, repair=True, made_by="me")
    left.refresh_from_db()
    assert left.cost_usd == Decimal("1.5") and left.cost_known
    assert result.is_balanced()


def test_wrong_calls_say_what_to_do() -> None:
    with pytest.raises(ValueError, match="kept for a day at least"):
        retention.purge_operations(datetime.timedelta(hours=23))
    with transaction.atomic(), pytest.raises(RuntimeError, match="call it outside"):
        purge()
    for text in ("90", "3m", "1.5d", "d"):
        with pytest.raises(CommandError, match="write days or weeks: 90d, 13w"):
            call_command("purge_operations", "--older-than", text)
    with pytest.raises(CommandError, match="a day at least"):
        call_command("purge_operations", "--older-than", "0d")
    with pytest.raises(CommandError, match="--most is below 1"):
        call_command("purge_operations", "--older-than", "1d", "--most", "0")


def test_the_command_says_what_it_did(clock: list[datetime.datetime]) -> None:
    fill(6)

    def said(*arguments: str) -> str:
        out = io.StringIO()
        call_command("purge_operations", "--older-than", *arguments, stdout=out)
        return out.getvalue()

    old = AIOperation.objects.filter(created_at__lt=NOW - TWO_DAYS).count()
    assert said("2d", "--dry-run") == f"{old} operations would be deleted.\n"
    assert said("2d") == f"{old} operations were deleted in 1 batches; their sums are kept.\n"
    assert said("1w") == "0 operations were deleted.\n"


def elsewhere(work: Any) -> None:
    """Work as another process would, with a connection of its own."""

    def run() -> None:
        try:
            work()
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()


@pytest.mark.parametrize("batches", [1, 4])
def test_who_reads_while_a_batch_goes_reads_again(
    batches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the query for the rows and that for purged sums, operations would count twice."""
    rows = fill(8)
    rollups.roll_up()
    real, left = Ledger._purged, [batches]

    def interrupted(self: Ledger) -> Any:
        if left[0]:
            left[0] -= 1
            elsewhere(lambda: purge(most=10))
        return real(self)

    monkeypatch.setattr(Ledger, "_purged", interrupted)
    assert sum(each["operations"] for each in Ledger().breakdown("module")) == len(rows)
    assert left[0] == 0


def test_local_times_without_a_zone_are_purged_alike(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.USE_TZ = False
    now = NOW.replace(tzinfo=None)
    monkeypatch.setattr(timezone, "now", lambda: now)
    chance = random.Random(4)
    for hours in range(1, 100, 3):
        operation(chance, now - datetime.timedelta(hours=hours)).save()
    before = books()
    assert purge().deleted == sum(hours > 48 for hours in range(1, 100, 3))
    assert books() == before
