"""Sums of the ledger: whole numbers on every database, days of the project's time zone."""

from __future__ import annotations

import datetime
import random
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connections
from django.test import override_settings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from django_obc_ai.models import AIOperation
from django_obc_ai.querysets import BREAKDOWN_FIELDS, BreakdownKey, day_bounds
from django_obc_ai.types import usd_from_nano

pytestmark = [
    pytest.mark.django_db(databases=["default", "postgres"]),
    pytest.mark.usefixtures("postgres_alias"),
]
TABLE = "django_obc_ai_aioperation"
MANY = 100_000


@pytest.fixture(params=["default", "postgres"])
def database(request: pytest.FixtureRequest) -> Iterator[str]:
    with override_settings(OBC_AI={"DATABASE": request.param}):
        yield request.param


def make(**values: Any) -> AIOperation:
    return AIOperation.objects.create(**_row(**values))


def _row(**values: Any) -> dict[str, Any]:
    return {"provider": "default", "success": True, "prompt_hash": "", **values}


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.integers(0, 10**15), max_size=40))
def test_a_sum_equals_the_sum_of_decimals(database: str, amounts: list[int]) -> None:
    AIOperation.objects.all().delete()
    AIOperation.objects.bulk_create(
        [AIOperation(**_row(cost_usd=usd_from_nano(nano))) for nano in amounts]
    )
    wanted = sum((usd_from_nano(nano) for nano in amounts), Decimal(0))
    total = AIOperation.objects.all().total_cost()
    assert isinstance(total, Decimal)
    assert total == wanted
    (row,) = AIOperation.objects.all().breakdown("module") or [{"cost": Decimal(0)}]
    assert row["cost"] == wanted


def _copy_many(database: str) -> None:
    """Turn the only row into many rows that cost 1, 2, 3, … nano-dollars and $1,000 each."""
    vendor = connections[database].vendor
    columns = [field.column for field in AIOperation._meta.concrete_fields]
    changed = {
        "id": "(lpad(to_hex(n), 32, '0'))::uuid"
        if vendor == "postgresql"
        else "printf('%032x', n)",
        "cost_usd": "n + 1000000000000",
    }
    chosen = ", ".join(changed.get(name, f'"{name}"') for name in columns)
    numbers = (
        f"SELECT generate_series(1, {MANY})"
        if vendor == "postgresql"
        else f"SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {MANY}"
    )
    with connections[database].cursor() as cursor:
        cursor.execute(
            f"WITH RECURSIVE numbers(n) AS ({numbers}) INSERT INTO {TABLE}"
            f" ({', '.join(columns)}) SELECT {chosen} FROM {TABLE} CROSS JOIN numbers"
        )


def test_many_large_rows_are_added_exactly(database: str) -> None:
    operation = make(created_at=datetime.datetime(2026, 7, 1, tzinfo=datetime.UTC))
    _copy_many(database)
    AIOperation.objects.filter(pk=operation.pk).delete()
    wanted = usd_from_nano(sum(n + 10**12 for n in range(1, MANY + 1)))
    assert AIOperation.objects.all().total_cost() == wanted
    assert wanted == Decimal("100000005.000050000")
    first = last = datetime.date(2026, 7, 1)
    assert AIOperation.objects.between(first, last).total_cost() == wanted


def test_floats_would_not_have_been_exact() -> None:
    """Why the column holds integers: what SQLite would do with a DecimalField."""
    generator = random.Random(5)
    amounts = [usd_from_nano(generator.randrange(10**13)) for _ in range(10_000)]
    assert Decimal(sum(float(amount) for amount in amounts)).quantize(Decimal("1e-9")) != sum(
        amounts
    )


def test_nothing_costs_nothing(database: str) -> None:
    for rows in (AIOperation.objects.all(), AIOperation.objects.none()):
        total = rows.total_cost()
        assert (type(total), total) == (Decimal, Decimal(0))
        assert rows.breakdown("day") == []


# --- days --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("zone", "day", "hours", "start"),
    [
        ("Asia/Manila", "2026-03-08", 24, "2026-03-07T16:00"),
        ("America/New_York", "2026-03-07", 24, "2026-03-07T05:00"),
        ("America/New_York", "2026-03-08", 23, "2026-03-08T05:00"),
        ("America/New_York", "2026-03-09", 24, "2026-03-09T04:00"),
        ("America/New_York", "2026-11-01", 25, "2026-11-01T04:00"),
        ("UTC", "2026-02-28", 24, "2026-02-28T00:00"),
        ("Africa/Cairo", "2026-04-24", 23, "2026-04-23T22:00"),  # midnight itself is left out
        ("America/Havana", "2026-11-01", 25, "2026-11-01T04:00"),  # midnight comes twice
        ("Pacific/Apia", "2011-12-30", 0, "2011-12-30T10:00"),  # a day that never was
    ],
)
def test_a_day_has_the_hours_it_really_had(zone: str, day: str, hours: int, start: str) -> None:
    date = datetime.date.fromisoformat(day)
    with override_settings(TIME_ZONE=zone):
        first, end = day_bounds(date, date)
    assert first == datetime.datetime.fromisoformat(f"{start}+00:00")
    assert end - first == datetime.timedelta(hours=hours)
    assert first.tzinfo is end.tzinfo is datetime.UTC


def test_without_time_zones_in_the_database_days_are_local_days() -> None:
    day = datetime.date(2026, 3, 8)
    with override_settings(USE_TZ=False, TIME_ZONE="America/New_York"):
        start, end = day_bounds(day, day)
    assert [start.isoformat(), end.isoformat()] == ["2026-03-08T00:00:00", "2026-03-09T00:00:00"]


@pytest.mark.parametrize("zone", ["Asia/Manila", "America/New_York"])
def test_the_days_of_a_year_follow_each_other_without_gap(zone: str) -> None:
    day, last = datetime.date(2026, 1, 1), datetime.date(2026, 12, 31)
    with override_settings(TIME_ZONE=zone):
        first, year_end = day_bounds(day, last)
        while day <= last:
            start, end = day_bounds(day, day)
            assert start == first
            first, day = end, day + datetime.timedelta(days=1)
    assert first == year_end


@pytest.mark.parametrize(
    ("zone", "day"),
    [
        ("Asia/Manila", "2026-07-01"),
        ("America/New_York", "2026-03-08"),
        ("America/New_York", "2026-11-01"),
    ],
)
def test_rows_on_the_edge_of_a_day_belong_to_one_day(database: str, zone: str, day: str) -> None:
    date = datetime.date.fromisoformat(day)
    week = datetime.timedelta(days=3)
    second = datetime.timedelta(microseconds=1)
    with override_settings(TIME_ZONE=zone):
        start, end = day_bounds(date, date)
        for number, moment in enumerate((start - second, start, end - second, end)):
            make(created_at=moment, cost_usd=10**number)
        assert AIOperation.objects.between(date, date).total_cost() == Decimal(110)
        rows = AIOperation.objects.between(date - week, date + week).breakdown("day")
    days = [date - datetime.timedelta(days=1), date, date + datetime.timedelta(days=1)]
    assert [row["key"] for row in rows] == days
    assert [row["cost"] for row in rows] == [Decimal(1), Decimal(110), Decimal(1_000)]


@pytest.mark.parametrize(("day", "hours"), [("2026-03-08", 23), ("2026-11-01", 25)])
def test_every_hour_of_a_changed_day_counts_once(database: str, day: str, hours: int) -> None:
    date = datetime.date.fromisoformat(day)
    with override_settings(TIME_ZONE="America/New_York"):
        start, _ = day_bounds(date, date)
        for number in range(-3, hours + 3):
            make(created_at=start + datetime.timedelta(hours=number), cost_usd=1)
        assert AIOperation.objects.between(date, date).count() == hours
        (row,) = AIOperation.objects.between(date, date).breakdown("day")
    assert (row["key"], row["operations"], row["cost"]) == (date, hours, Decimal(hours))


# --- breakdowns --------------------------------------------------------------------------------
@pytest.fixture
def ledger(database: str) -> dict[str, Any]:
    """Two callers, two modules, a failure, a cached answer; users live in the default database."""
    users = get_user_model().objects.db_manager(database)
    amina, badal = users.create(username="amina"), users.create(username="badal")
    day = datetime.datetime(2026, 7, 1, 4, tzinfo=datetime.UTC)
    later = day + datetime.timedelta(days=1)
    tokens = {"input_tokens": 10, "output_tokens": 5, "thinking_tokens": 2, "tool_tokens": 1}
    make(module="mana", operation_type="chat", model_used="a", user=amina, created_at=day,
         cost_usd=Decimal("0.25"), **tokens)  # fmt: skip
    make(module="mana", operation_type="search", model_used="b", user=badal, created_at=later,
         cost_usd=Decimal("0.50"), success=False, error_category="timeout")  # fmt: skip
    make(module="general", operation_type="chat", model_used="a", created_at=later,
         cached=True, cached_tokens=4, input_tokens=10)  # fmt: skip
    return {"amina": amina.pk, "badal": badal.pk, "day": day.date(), "later": later.date()}


def _short(by: BreakdownKey) -> list[tuple[Any, ...]]:
    names = ("key", "cost", "operations", "failures", "cached", "tokens")
    rows = AIOperation.objects.all().breakdown(by)
    assert all(
        set(row) == {*names, "coalesced"} and isinstance(row["cost"], Decimal) for row in rows
    )
    return [tuple(row[name] for name in names) for row in rows]


QUARTER, HALF, NONE = Decimal("0.25"), Decimal("0.50"), Decimal(0)


def test_breakdown_by_module_is_dearest_first(ledger: dict[str, Any]) -> None:
    assert _short("module") == [
        ("mana", Decimal("0.75"), 2, 1, 0, 18),
        ("general", NONE, 1, 0, 1, 10),
    ]


def test_breakdown_by_operation_type(ledger: dict[str, Any]) -> None:
    assert _short("operation_type") == [
        ("search", HALF, 1, 1, 0, 0),
        ("chat", QUARTER, 2, 0, 1, 28),
    ]


def test_breakdown_by_model(ledger: dict[str, Any]) -> None:
    assert _short("model") == [("b", HALF, 1, 1, 0, 0), ("a", QUARTER, 2, 0, 1, 28)]


def test_breakdown_by_user_keeps_unattributed_calls(ledger: dict[str, Any]) -> None:
    assert _short("user") == [
        (ledger["badal"], HALF, 1, 1, 0, 0),
        (ledger["amina"], QUARTER, 1, 0, 0, 18),
        (None, NONE, 1, 0, 1, 10),
    ]


def test_breakdown_by_day_is_in_order_of_time(ledger: dict[str, Any]) -> None:
    assert _short("day") == [
        (ledger["day"], QUARTER, 1, 0, 0, 18),
        (ledger["later"], HALF, 2, 1, 1, 10),
    ]


@pytest.mark.parametrize("by", sorted(BREAKDOWN_FIELDS))
def test_a_breakdown_adds_up_to_the_total(ledger: dict[str, Any], by: BreakdownKey) -> None:
    rows = AIOperation.objects.all()
    assert sum(row["cost"] for row in rows.breakdown(by)) == rows.total_cost()
    assert sum(row["operations"] for row in rows.breakdown(by)) == rows.count()


def test_equal_costs_are_ordered_by_key(database: str) -> None:
    for module in ("c", "a", "b"):
        make(module=module, cost_usd=1)
    assert [row["key"] for row in AIOperation.objects.all().breakdown("module")] == ["a", "b", "c"]
