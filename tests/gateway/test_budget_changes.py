"""When a changed budget is in force, and how often budgets are read."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from django_obc_ai.backends.cost_stores import cost_stores
from django_obc_ai.gateway import policy
from django_obc_ai.models import Budget, BudgetChange
from django_obc_ai.testing import Reply
from django_obc_ai.types import Usage
from tests.gateway.conftest import Scripted
from tests.gateway.test_budget import ask
from tests.gateway.test_recovery import redis
from tests.servers.valkey import RedisServer

pytestmark = pytest.mark.django_db(transaction=True)

ANSWERS = [Reply("A", usage=Usage(input_tokens=1, output_tokens=1))] * 20


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """Stop the clock by which rows grow old."""
    now = [1_000.0]
    monkeypatch.setattr(policy, "_clock", lambda: now[0])
    policy._read.clear()
    yield now
    policy._read.clear()


@pytest.fixture
def shared(scripted: Scripted, redis_server: RedisServer) -> Any:
    kit = scripted(*ANSWERS, COST_STORES=redis(redis_server))
    make(limit_usd=Decimal(5))
    assert ask().success
    return kit


def make(**facts: Any) -> Budget:
    return Budget.objects.create(scope="global", period="day", **facts)


def reads() -> int:
    """Make a call, and return how often it read the budgets."""
    with CaptureQueriesContext(connection) as captured:
        assert ask().success
    table = Budget._meta.db_table
    return sum(f'FROM "{table}"' in each["sql"] for each in captured.captured_queries)


def test_budgets_are_read_once_a_second_where_the_store_tells_of_changes(
    shared: Any, clock: list[float]
) -> None:
    assert [reads() for _ in range(3)] == [0, 0, 0]
    clock[0] += 1
    assert [reads() for _ in range(3)] == [1, 0, 0]


def test_where_the_store_tells_of_nothing_they_are_read_each_time(scripted: Scripted) -> None:
    scripted(*ANSWERS)
    make(limit_usd=Decimal(5))
    assert [reads() for _ in range(3)] == [1, 1, 1]


def test_a_saved_or_deleted_row_is_in_force_with_the_next_call(shared: Any) -> None:
    row = Budget.objects.get()
    row.limit_usd = Decimal(0)
    row.save()
    assert ask().error == "budget_exceeded"
    row.delete()
    assert ask().success


def test_the_next_call_of_every_process_sees_a_change(shared: Any) -> None:
    known = dict(policy._read)
    row = Budget.objects.get()
    row.limit_usd = Decimal(0)
    row.save()
    policy._read.update(known)  # as in a process that has not saved it
    assert ask().error == "budget_exceeded"
    Budget.objects.all().delete()
    policy._read.update(known)
    assert ask().success


def test_a_change_by_other_ways_is_in_force_within_a_second(
    shared: Any, clock: list[float]
) -> None:
    Budget.objects.update(limit_usd=Decimal(0))
    assert ask().success
    clock[0] += 1
    assert ask().error == "budget_exceeded"


def test_a_change_is_told_when_it_is_committed_and_a_rollback_tells_nothing(shared: Any) -> None:
    with transaction.atomic():
        make(limit_usd=Decimal(0))
        assert ask().error == "budget_exceeded"  # one's own transaction sees it
        transaction.set_rollback(True)
    assert reads() == 0
    with transaction.atomic():
        make(limit_usd=Decimal(0))
        known = dict(policy._read)
    policy._read.update(known)
    assert ask().error == "budget_exceeded"


def test_a_version_belongs_to_what_was_read_after_it(shared: Any) -> None:
    """A thread that read before the change does not reserve under the version after it."""
    store = cost_stores["default"]
    old = policy.in_force_for(store)
    make(limit_usd=Decimal(0))
    assert ask().error == "budget_exceeded"
    assert policy.in_force_for(store)[1] not in ("", old[1])


def test_a_store_that_cannot_be_told_keeps_no_budget_from_being_saved(
    shared: Any, caplog: pytest.LogCaptureFixture
) -> None:
    store: Any = cost_stores["default"]
    url, store._url = store._url, "redis://127.0.0.1:1/0"
    store._process.link = None
    with caplog.at_level(logging.WARNING):
        make(limit_usd=Decimal(0))
    assert [each.event for each in caplog.records] == ["budget.change_not_told"]
    store._url, store._process.link = url, None
    assert ask().error == "budget_exceeded"  # in this process at once, in others after a second


def test_a_budget_that_changes_all_the_time_is_an_error_and_nothing_is_sent(
    shared: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = policy._facts

    def change(database: str) -> Any:
        cost_stores["default"].note_budgets()
        return facts(database)

    cost_stores["default"].note_budgets()
    monkeypatch.setattr(policy, "_facts", change)
    result = ask()
    assert (result.error, shared.provider.call_count) == ("transient", 1)
    assert "faster than they can be read" in result.error_message


def test_a_limit_may_be_given_as_text() -> None:
    row = make(limit_usd="5")
    assert row.facts["limit_usd"] == "5.000000000"
    assert Budget.objects.get().limit_usd == Decimal(5)
    row.refresh_from_db()
    row.save()  # nothing has changed
    assert BudgetChange.objects.count() == 1
