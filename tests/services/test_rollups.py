"""Rollups: sums of any days equal those of the rows, whatever was recorded when."""

from __future__ import annotations

import datetime
import math
import random
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.utils import timezone

from django_obc_ai.models import AIOperation, OperationRollup
from django_obc_ai.services import rollups
from django_obc_ai.services.tally import BIN_GROWTH, SUMS, Tally, bin_of, percentile

pytestmark = pytest.mark.django_db
DAY = datetime.date(2026, 3, 8)  # clocks change in New York
NOW = datetime.datetime(2026, 3, 12, 10, 7, tzinfo=datetime.UTC)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[datetime.datetime]:
    now = [NOW]
    monkeypatch.setattr(timezone, "now", lambda: now[0])
    return now


def operation(chance: random.Random, began: datetime.datetime, **values: Any) -> AIOperation:
    success, cached = chance.random() < 0.8, chance.random() < 0.2
    success = success or cached
    coalesced = not cached and chance.random() < 0.2
    is_saved = cached or (coalesced and success)
    return AIOperation(
        created_at=began,
        recorded_at=began + datetime.timedelta(seconds=chance.choice([1, 30, 400])),
        module=chance.choice(["mana", "general"]),
        operation_type=chance.choice(["chat", "search"]),
        model_used=chance.choice(["a", "b", ""]),
        scope=chance.choice(["", "north"]),
        provider="default",
        success=success,
        error_category="" if success else chance.choice(["timeout", "transient"]),
        cached=cached,
        coalesced=coalesced,
        waited_ms=chance.choice([0, 0, 700]),
        fallback_from=chance.choice(["", "", "", "dear"]),
        cost_usd=0 if cached or coalesced else Decimal(chance.randrange(10**8)).scaleb(-9),
        cost_known=chance.random() < 0.9,
        saved_usd=Decimal(chance.randrange(10**6)).scaleb(-9) if is_saved else 0,
        input_tokens=500 + chance.randrange(100),
        cached_tokens=chance.randrange(100),
        output_tokens=chance.randrange(100),
        response_time_ms=chance.randrange(1, 20_000),
        first_chunk_ms=chance.choice([None, chance.randrange(1, 3_000)]),
        prompt_hash="",
        **values,
    )


def fill(seed: int, count: int = 300) -> list[AIOperation]:
    chance = random.Random(seed)
    users = [get_user_model().objects.create(username=f"u{n}").pk for n in range(3)]
    rows = [
        operation(
            chance,
            NOW - datetime.timedelta(seconds=chance.randrange(5 * 86_400)),
            user_id=chance.choice([*users, None]),
        )
        for _ in range(count)
    ]
    return AIOperation.objects.bulk_create(rows)


def tallied(rows: list[AIOperation]) -> dict[str, Any]:
    """The sums by hand, without the code under test."""
    timed = [each for each in rows if each.success and not (each.cached or each.coalesced)]
    shared = [each for each in rows if each.success and each.coalesced]
    shares: dict[str, dict[str, list[int]]] = {}
    for dimension, column in (("module", "module"), ("user", "user_id"), ("scope", "scope")):
        shares[dimension] = {}
        for row in rows:
            value = getattr(row, column)
            share = shares[dimension].setdefault("" if value is None else str(value), [0] * 5)
            parts = (1, not row.success, row.cached, row.cost_usd * 10**9, row in shared)
            for at, amount in enumerate(parts):
                share[at] += int(amount)
    return {
        "operations": len(rows),
        "failures": sum(not each.success for each in rows),
        "cost_nano": int(sum(each.cost_usd for each in rows) * 10**9),
        "saved_nano": int(sum(each.saved_usd for each in rows) * 10**9),
        "coalesced": len(shared),
        "coalesced_nano": int(sum(each.saved_usd for each in shared) * 10**9),
        "waited": sum(each.waited_ms > 0 for each in rows),
        "waited_ms": sum(each.waited_ms for each in rows),
        "fallbacks": sum(each.fallback_from == "dear" for each in rows),
        "cost_unknown": sum(not each.cost_known for each in rows),
        "input_tokens": sum(each.input_tokens for each in rows),
        "response_ms": sum(each.response_time_ms for each in timed),
        "errors": {
            name: n
            for name in ("timeout", "transient")
            if (n := sum(each.error_category == name for each in rows))
        },
        "by": shares,
        "slowest": sorted(((r.response_time_ms, str(r.pk)) for r in timed), reverse=True)[:5],
    }


def read(first: datetime.date, last: datetime.date) -> Tally:
    whole = Tally()
    for tally in rollups.read_days(first, last).values():
        whole.merge(tally)
    return whole


def check(first: datetime.date, last: datetime.date) -> None:
    found = read(first, last)
    assert read(first, last) == found  # from days that are kept
    rows = list(AIOperation.objects.between(first, last))
    for name, wanted in tallied(rows).items():
        if name in SUMS:
            assert found.sums[name] == wanted, name
        elif name == "by":
            assert {each: found.by[each] for each in wanted} == wanted
        else:
            assert getattr(found, name) == wanted, name


@pytest.mark.parametrize("zone", ["Asia/Manila", "America/New_York"])
@pytest.mark.parametrize("seed", range(3))
def test_sums_of_any_days_are_those_of_the_rows(
    zone: str, seed: int, settings: Any, clock: list[datetime.datetime]
) -> None:
    settings.TIME_ZONE = zone
    fill(seed)
    assert rollups.roll_up() == 0
    for length in (1, 2, 4):
        check(DAY, DAY + datetime.timedelta(days=length))
    # Rows of open and of closed quarters of an hour come, and change, later.
    chance = random.Random(seed)
    for _ in range(3):
        clock[0] += datetime.timedelta(minutes=chance.choice([1, 14, 60]))
        late = [
            operation(chance, clock[0] - datetime.timedelta(seconds=chance.randrange(200_000)))
            for _ in range(20)
        ]
        for row in late:
            row.recorded_at = clock[0]
        AIOperation.objects.bulk_create(late)
        some = [
            each.pk
            for each in AIOperation.objects.filter(cached=False, coalesced=False).order_by("?")[:5]
        ]
        AIOperation.objects.filter(pk__in=some).update(cost_usd=1, recorded_at=clock[0])
        assert rollups.roll_up() == 0
        check(DAY, datetime.date(2026, 3, 13))


def test_a_row_that_was_committed_late_opens_its_bucket_again(
    clock: list[datetime.datetime],
) -> None:
    """It was recorded before the bucket was rolled up, by another machine's clock."""
    fill(1, 50)
    rollups.roll_up()
    chance, began = random.Random(1), NOW - datetime.timedelta(minutes=40)
    row = operation(chance, began)
    row.recorded_at = clock[0] - datetime.timedelta(minutes=4)
    row.save()
    rollups.roll_up()
    check(DAY, datetime.date(2026, 3, 12))


def test_what_is_rolled_up_already_is_not_done_again(
    clock: list[datetime.datetime],
) -> None:
    fill(2, 50)
    clock[0] += datetime.timedelta(hours=1)
    rollups.roll_up()
    rolled = OperationRollup.objects.values_list("is_day", "start", "rolled_at")
    before = set(rolled)
    clock[0] += datetime.timedelta(hours=1)
    rollups.roll_up()
    assert set(rolled) == before


def test_a_part_can_be_rolled_up_and_the_rest_later() -> None:
    fill(3)
    left = rollups.roll_up(most=10)
    assert left > 0 and OperationRollup.objects.count() == 10
    assert rollups.roll_up() == 0
    check(DAY, datetime.date(2026, 3, 12))


def test_percentiles_are_within_five_percent_of_the_nearest_rank() -> None:
    chance = random.Random(5)
    for size in (1, 7, 1_000):
        times = sorted(round(math.exp(chance.uniform(0, 13))) for _ in range(size))
        bins: dict[str, int] = {}
        for each in times:
            bins[str(bin_of(each))] = bins.get(str(bin_of(each)), 0) + 1
        for share in (0.5, 0.95, 0.99, 1):
            exact = times[max(1, math.ceil(share * size)) - 1]
            found = percentile(bins, share)
            assert found is not None and abs(found - exact) <= 0.05 * exact + 0.5
    assert percentile({}, 0.5) is None


@pytest.mark.parametrize("milliseconds", [*range(200), 10_000, 599_999, 10**7])
def test_a_bin_holds_what_it_says(milliseconds: int) -> None:
    number = bin_of(milliseconds)
    assert milliseconds <= 1 or BIN_GROWTH ** (number - 1) < milliseconds * (1 + 1e-9)
    assert milliseconds <= BIN_GROWTH**number * (1 + 1e-9)
