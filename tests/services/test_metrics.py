"""What a monitoring system reads equals the ledger, whatever happened to it."""

from __future__ import annotations

import datetime
import random
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_obc_ai.models import AIOperation, OperationRollup
from django_obc_ai.services import _ledger_total, metrics, rollups
from django_obc_ai.services.retention import purge_operations
from django_obc_ai.services.tally import COLUMNS, SUMS, Tally, bin_of
from tests.services.test_rollups import NOW, operation

pytestmark = pytest.mark.django_db
DAYS = 40


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[datetime.datetime]]:
    now = [NOW]
    monkeypatch.setattr(timezone, "now", lambda: now[0])
    _ledger_total.forget()
    yield now
    _ledger_total.forget()


def fill(chance: random.Random, count: int, *, back: float = DAYS) -> list[AIOperation]:
    rows = [
        operation(chance, NOW - datetime.timedelta(days=chance.random() * back))
        for _ in range(count)
    ]
    return AIOperation.objects.bulk_create(rows)


def by_hand() -> dict[str, Any]:
    """The sums of all rows, without rollups."""
    whole = Tally()
    for row in AIOperation.objects.values_list(*COLUMNS):
        whole.add(row)
    return {"sums": whole.sums, "errors": whole.errors, "times": whole.times, "by": by(whole)}


def by(tally: Tally) -> dict[str, Any]:
    return {name: tally.by[name] for name in ("module", "operation_type", "model")}


def total() -> dict[str, Any]:
    found = _ledger_total.read_total()
    assert found is not None
    return {"sums": found.sums, "errors": found.errors, "times": found.times, "by": by(found)}


def values() -> dict[tuple[str, ...], Any]:
    return {
        (each.metric.name, *each.labels): each.value
        for each in metrics.read_metrics()
        if not each.buckets
    }


# --- the sum -----------------------------------------------------------------------------------
def test_the_total_is_that_of_the_rows_however_often_it_is_read() -> None:
    fill(random.Random(1), 400)
    assert total() == total() == total() == by_hand()


def test_an_empty_ledger_has_a_total() -> None:
    assert total()["sums"] == dict.fromkeys(SUMS, 0)


@pytest.mark.parametrize("seed", range(3))
def test_late_rows_corrections_and_time_are_seen_at_once(
    clock: list[datetime.datetime], seed: int
) -> None:
    chance = random.Random(seed)
    fill(chance, 150)
    for _ in range(8):
        clock[0] += datetime.timedelta(minutes=chance.choice([0, 3, 40, 60 * 30]))
        step = chance.choice(["late", "new", "correct", "dashboard"])
        if step == "late":
            row = operation(chance, clock[0] - datetime.timedelta(days=chance.random() * DAYS))
            row.recorded_at = clock[0]
            row.save()
        elif step == "new":
            row = operation(chance, clock[0])
            row.recorded_at = clock[0]
            row.save()
        elif step == "correct":
            row = chance.choice(list(AIOperation.objects.filter(cached=False, coalesced=False)))
            row.cost_usd, row.recorded_at = Decimal("0.5"), clock[0]
            row.save()
        else:  # another process keeps days
            day = timezone.localdate(clock[0])
            rollups.roll_up()
            rollups.read_days(day - datetime.timedelta(days=DAYS), day)
        assert total() == by_hand()


def test_what_lies_back_is_added_up_once_and_again_when_it_changed() -> None:
    fill(random.Random(2), 200)
    for _ in range(2):  # days are kept, then found kept
        total()
    with CaptureQueriesContext(connection) as first:
        total()
    row = AIOperation.objects.order_by("created_at").filter(cached=False, coalesced=False)[0]
    row.cost_usd, row.recorded_at = Decimal(3), NOW
    row.save()
    assert total() == by_hand()
    fill(random.Random(3), 3, back=0.005)  # recorded since the mark, whatever they are
    assert total() == by_hand()
    read = [each for each in first if "by_module" in each["sql"]]
    assert 0 < len(read) <= 4  # of yesterday, today and tomorrow
    assert len(first) < 20


def test_rows_that_were_purged_stay_in_the_total(clock: list[datetime.datetime]) -> None:
    fill(random.Random(4), 100)
    before = total()
    clock[0] += datetime.timedelta(minutes=20)  # rollups are sure to hold all rows by then
    rollups.roll_up()
    assert purge_operations(datetime.timedelta(days=10)).deleted > 10
    assert total() == before
    _ledger_total.forget()
    assert total() == before
    late = operation(random.Random(1), NOW - datetime.timedelta(days=20))
    late.recorded_at = clock[0]
    late.save()
    assert total()["sums"]["operations"] == before["sums"]["operations"] + 1


def test_a_quarter_that_closes_while_it_is_read_makes_no_sum_fall(
    clock: list[datetime.datetime], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(random.Random(5), 60, back=0.2)
    real, moved = rollups.roll_up, []

    def slow(**options: Any) -> int:
        left = real(**options)
        if not moved:
            clock[0] += datetime.timedelta(minutes=15)
            moved.append(left)
        return left

    monkeypatch.setattr(rollups, "roll_up", slow)
    assert total() == by_hand()
    assert moved


def test_a_ledger_that_is_not_added_up_yet_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    fill(random.Random(6), 200)
    monkeypatch.setattr(_ledger_total, "_MOST", 40)
    monkeypatch.setattr(_ledger_total, "_MOST_DAYS", 10)
    found = values()
    assert ("obc_ai_cost_dollars",) not in found
    assert found["obc_ai_part_up", "ledger"] == 0
    for _ in range(12):
        found = values()
    assert found["obc_ai_part_up", "ledger"] == 1
    assert found["obc_ai_cost_dollars",] == AIOperation.objects.all().total_cost()


def test_what_the_command_did_no_scrape_has_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    fill(random.Random(7), 200)
    call_command("ai_rollup", verbosity=0)
    monkeypatch.setattr(rollups, "_roll", None)
    monkeypatch.setattr(_ledger_total, "_MOST_DAYS", 0)
    assert total() == by_hand()


# --- samples -----------------------------------------------------------------------------------
def test_samples_are_the_sums_of_the_ledger() -> None:
    rows = fill(random.Random(7), 300)
    found = values()
    shared = [each for each in rows if each.success and each.coalesced]
    answered = sum(each.success and not (each.cached or each.coalesced) for each in rows)
    assert found["obc_ai_operations_total", "answered"] == answered
    assert found["obc_ai_operations_total", "cached"] == sum(each.cached for each in rows)
    assert found["obc_ai_operations_total", "failed"] == sum(not each.success for each in rows)
    assert found["obc_ai_cost_dollars",] == sum(each.cost_usd for each in rows)
    assert found["obc_ai_operations_total", "coalesced"] == len(shared)
    for kind, those in (("cache", (each for each in rows if each.cached)), ("coalesced", shared)):
        saved = sum(each.saved_usd for each in those)
        assert found["obc_ai_saved_dollars_total", kind] == saved
    waits = [each.waited_ms for each in rows if each.waited_ms]
    assert found["obc_ai_waits_total",] == len(waits)
    assert found["obc_ai_wait_seconds_total",] == Decimal(sum(waits)) / 1000
    fallbacks = sum(each.fallback_from != "" for each in rows)
    assert found["obc_ai_fallbacks_total",] == fallbacks > 0
    assert found["obc_ai_module_coalesced_total", "mana"] == sum(
        each.module == "mana" for each in shared
    )
    tokens = sum(value for name, value in found.items() if name[0] == "obc_ai_tokens_total")
    assert tokens == sum(each.total_tokens for each in rows)
    assert found["obc_ai_failures_total", "timeout"] == sum(
        each.error_category == "timeout" for each in rows
    )
    assert found["obc_ai_model_operations_total", "(none)"] == sum(
        each.model_used == "" for each in rows
    )
    assert found["obc_ai_module_cost_dollars", "mana"] == sum(
        each.cost_usd for each in rows if each.module == "mana"
    )


def test_buckets_count_exactly_what_their_bound_says() -> None:
    rows = fill(random.Random(8), 500)
    samples = {each.metric.name: each for each in metrics.read_metrics() if each.buckets}
    answers = [each for each in rows if each.success]
    times = [each.response_time_ms for each in answers if not (each.cached or each.coalesced)]
    chunks = [each.first_chunk_ms for each in rows if each.first_chunk_ms is not None]
    assert samples["obc_ai_response_seconds"].value == Decimal(sum(times)) / 1000
    for name, wanted in (("response", times), ("first_chunk", chunks)):
        for bound, count in samples[f"obc_ai_{name}_seconds"].buckets:
            assert count == sum(each / 1000 <= float(bound) for each in wanted), bound


def test_bounds_are_ends_of_bins() -> None:
    for last in metrics._BINS:
        end = int(1.1**last)
        assert (bin_of(end), bin_of(end + 1)) == (last, last + 1)


def test_reading_changes_no_operation() -> None:
    fill(random.Random(9), 50)
    before = list(AIOperation.objects.order_by("pk").values())
    values()
    assert list(AIOperation.objects.order_by("pk").values()) == before
    assert OperationRollup.objects.exists()
