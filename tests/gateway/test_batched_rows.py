"""Rows that wait to be written together: where they are meanwhile, and when they are written."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import valkey
from django.db import connections, transaction

from django_obc_ai.backends.cost_stores import cost_stores
from django_obc_ai.exceptions import ProviderTimeoutError
from django_obc_ai.gateway import draining
from django_obc_ai.models import AIOperation
from django_obc_ai.services.ledger import drain_spool, flush_rows
from django_obc_ai.signals import operation_finished
from tests.gateway.conftest import ANSWER, COST, Batched, ask, pks
from tests.gateway.holds import totals
from tests.gateway.test_budget_scopes import entry
from tests.gateway.test_recovery import redis
from tests.servers.valkey import RedisServer

pytestmark = pytest.mark.django_db(transaction=True)

PLENTY = [entry(period="total", limit_usd="5")]


def stream_of(server: RedisServer) -> int:
    with valkey.Valkey.from_url(server.url) as client:
        return int(client.xlen("{obc-ai:costs}:rows"))


def segments_in(folder: Path) -> list[Path]:
    return list(folder.glob("batches/*.rows"))


def test_a_row_waits_on_disk_and_is_written_with_others(batched: Batched, folder: Path) -> None:
    batched()
    finished: list[Any] = []

    def note(operation: AIOperation, **_: Any) -> None:
        finished.append(operation.pk)

    operation_finished.connect(note)
    try:
        asked = {ask().operation_id for _ in range(3)}
        assert (pks(), finished) == (set(), [])
        (segment,) = segments_in(folder)
        assert len(segment.read_text().splitlines()) == 3
        assert not list(folder.glob("*.json"))
        flush_rows()
    finally:
        operation_finished.disconnect(note)
    assert pks() == asked == set(finished)
    assert len(finished) == 3
    assert segments_in(folder) == []


def test_a_paid_row_travels_with_its_settlement(
    batched: Batched, folder: Path, redis_server: RedisServer
) -> None:
    batched(BUDGETS=PLENTY, COST_STORES=redis(redis_server))
    ask()
    trips: list[list[Any]] = []
    store: Any = cost_stores["default"]
    run_all = store._process.link.run_all
    store._process.link.run_all = lambda calls: trips.append(calls) or run_all(calls)
    ask()
    assert [len(calls) for calls in trips] == [1, 2]  # reserve; row and settlement
    assert totals() == (1_862_000, 0)
    assert (stream_of(redis_server), segments_in(folder), pks()) == (2, [], set())
    assert not list(folder.glob("**/*.json"))  # the hold is the announcement
    flush_rows()
    assert (stream_of(redis_server), len(pks())) == (0, 2)


def test_without_a_budget_the_row_goes_to_redis_by_itself(
    batched: Batched, folder: Path, redis_server: RedisServer
) -> None:
    batched(COST_STORES=redis(redis_server))
    ask()
    assert (stream_of(redis_server), segments_in(folder)) == (1, [])
    assert drain_spool().stored == 0  # its own rows are written, not taken up
    assert (stream_of(redis_server), len(pks())) == (0, 1)


def test_what_costs_nothing_waits_in_memory_alone(
    batched: Batched, folder: Path, redis_server: RedisServer
) -> None:
    batched(COST_STORES=redis(redis_server), BUDGETS=[entry(limit_usd="0")])
    with pytest.raises(AssertionError):
        ask()
    assert (stream_of(redis_server), segments_in(folder), pks()) == (0, [], set())
    flush_rows()
    assert AIOperation.objects.get().error_category == "budget_exceeded"


def test_without_redis_and_spool_rows_are_written_at_once(batched: Batched) -> None:
    batched(LOG={"spool": None})
    asked = ask()
    assert pks() == {asked.operation_id}


@pytest.mark.django_db(transaction=False)
def test_in_a_tests_transaction_rows_are_seen_at_once(batched: Batched) -> None:
    batched()
    asked = ask()
    assert pks() == {asked.operation_id}


@pytest.mark.django_db(transaction=True, databases=["default", "postgres"])
def test_a_rollback_of_the_caller_takes_no_row(batched: Batched, postgres_alias: str) -> None:
    batched(DATABASE=postgres_alias)
    with transaction.atomic(using=postgres_alias):
        asked = {ask().operation_id, ask().operation_id}
        flush_rows()  # on another connection
        asked.add(ask().operation_id)
        transaction.set_rollback(True, using=postgres_alias)
    flush_rows()
    assert set(AIOperation.objects.using(postgres_alias).values_list("pk", flat=True)) == asked


def test_in_a_transaction_on_sqlite_a_row_waits_for_its_end(batched: Batched, folder: Path) -> None:
    if connections["default"].vendor != "sqlite":
        pytest.skip("elsewhere rows do not wait for the caller's transaction")
    batched()
    with transaction.atomic():
        asked = ask()
        flush_rows()
        assert len(list(folder.glob("*.json"))) == 1
    assert pks() == {asked.operation_id}


def test_the_thread_writes_by_itself_and_lingers_without_a_connection(
    batched: Batched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django_obc_ai.gateway.batch._PAUSE_SECONDS", 0.01)
    monkeypatch.setattr("django_obc_ai.gateway.batch._LINGER_SECONDS", 0.2)
    written = threading.Event()

    def note(**_: Any) -> None:
        written.set()

    batched()
    operation_finished.connect(note)
    try:
        asked = ask()
        assert written.wait(20)
    finally:
        operation_finished.disconnect(note)
    assert pks() == {asked.operation_id}
    thread = draining.batch._thread
    if thread is not None:
        thread.join(20)
    assert draining.batch._thread is None


def test_many_threads_lose_and_double_nothing(
    batched: Batched, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django_obc_ai.gateway.batch._PAUSE_SECONDS", 0.01)
    batched(*[ANSWER] * 200, BUDGETS=PLENTY, COST_STORES=redis(redis_server))
    asked = {ask().operation_id for _ in range(8)}  # the first one fills the store

    def work() -> None:
        for number in range(24):
            asked.add(ask().operation_id)
            if number % 10 == 0:
                flush_rows()
        connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    flush_rows()
    assert (len(asked), pks()) == (200, asked)
    assert totals() == (200 * 931_000, 0)
    assert stream_of(redis_server) == 0


def test_a_call_that_is_tried_again_is_announced_between_its_holds(
    batched: Batched, folder: Path, redis_server: RedisServer, waits: list[float]
) -> None:
    seen: list[int] = []

    def fail(_: Any) -> Any:
        seen.append(len(list(folder.glob("in_flight/*.json"))))
        raise ProviderTimeoutError("Late.")

    def answer(_: Any) -> Any:
        seen.append(len(list(folder.glob("in_flight/*.json"))))
        return ANSWER

    batched(fail, answer, BUDGETS=PLENTY, COST_STORES=redis(redis_server))
    from django_obc_ai.services.text import TextService

    assert TextService().generate_text("Q", use_cache=False, max_output_tokens=100).success
    assert seen[0] == 0
    assert not list(folder.glob("in_flight/*.json"))
    flush_rows()
    spent = AIOperation.objects.get().cost_usd
    assert totals() == (spent * 10**9, 0)
    assert seen[1] == int(spent > COST)


def test_without_a_hold_a_call_is_announced_on_disk(batched: Batched, folder: Path) -> None:
    seen = []

    def answer(_: Any) -> Any:
        seen.append(len(list(folder.glob("in_flight/*.json"))))
        return ANSWER

    batched(answer)
    ask()
    assert seen == [1]
    assert not list(folder.glob("in_flight/*.json"))
