"""Settlements, lost stores, stand-ins and leases of holds."""

from __future__ import annotations

import datetime
import json
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
import valkey
from django.db import connections

from django_obc_ai.backends.cost_stores import cost_stores
from django_obc_ai.exceptions import CostStoreError
from django_obc_ai.gateway import alerts, budget, keeper, leases, recovery
from django_obc_ai.models import AIOperation
from django_obc_ai.testing import Reply
from django_obc_ai.types import (
    CallInfo,
    GenerationRequest,
    Usage,
)
from tests.extras import requires
from tests.gateway.conftest import Scripted
from tests.gateway.holds import (
    STORES,
    TOTAL,
    held_by_the_dead,
    pass_the_lease,
    totals,
)
from tests.gateway.test_budget import ask
from tests.gateway.test_budget_scopes import entry
from tests.servers.valkey import RedisServer

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _forget_the_dead() -> Iterator[None]:
    yield
    for reservation in list(leases._holds.open):
        leases.drop(reservation)
    alerts._known.clear()


def test_the_row_is_written_before_the_hold_is_closed(scripted: Scripted) -> None:
    seen: list[tuple[int, int]] = []
    from django_obc_ai.signals import operation_finished

    def look(operation: AIOperation, **_: Any) -> None:
        seen.append(totals())

    operation_finished.connect(look)
    try:
        scripted(Reply("A", usage=Usage(input_tokens=1, output_tokens=10)), BUDGETS=TOTAL)
        assert ask().success
    finally:
        operation_finished.disconnect(look)
    assert seen == [(0, 433_000)]
    assert totals() == (41_000, 0)


def test_a_settlement_that_the_store_did_not_take_is_tried_again(
    scripted: Scripted, redis_server: RedisServer
) -> None:
    scripted(BUDGETS=TOTAL, COST_STORES=redis(redis_server))
    hold = held_by_the_dead()
    store: Any = cost_stores["default"]
    url, store._url = store._url, "redis://127.0.0.1:1/0"
    store._process.link = None
    hold.settle(Decimal("0.0001"))
    store._url, store._process.link = url, None
    assert totals() == (0, 400_000)
    leases.settle_again()
    assert totals() == (100_000, 0)


def redis(server: RedisServer, **options: Any) -> dict[str, Any]:
    options = {"url": server.url, **options}
    return {"default": {"BACKEND": f"{STORES}.redis.RedisCostStore", "OPTIONS": options}}


def test_a_new_redis_is_filled_from_the_ledger_without_waiting(
    scripted: Scripted, redis_server: RedisServer
) -> None:
    AIOperation.objects.create(
        provider="default", success=True, cost_usd=Decimal("0.0008"), prompt_hash=""
    )
    scripted("A", BUDGETS=TOTAL, COST_STORES=redis(redis_server))
    assert "$0.0008 spent" in ask().error_message


def test_a_crowd_waits_for_whoever_came_first_to_a_new_redis(
    scripted: Scripted, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [Reply("A", usage=Usage(input_tokens=1, output_tokens=1)) for _ in range(6)]
    budgets = [entry(period="total", limit_usd="1")]
    scripted(*answers, COST_STORES=redis(redis_server), BUDGETS=budgets, RETRY={"attempts": 1})
    filling, waiting = threading.Event(), threading.Event()
    read = recovery.spent_by_key

    def slow(*arguments: Any) -> dict[str, int]:
        filling.set()
        assert waiting.wait(60)
        return read(*arguments)

    def wait(seconds: float) -> None:
        waiting.set()
        time.sleep(seconds)

    monkeypatch.setattr(recovery, "spent_by_key", slow)
    monkeypatch.setattr(recovery, "_sleep", wait)

    def call(number: int) -> Any:
        try:
            if number:
                assert filling.wait(60)
            return ask()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(call, range(6)))
    assert [(each.success, each.error_message) for each in results] == [(True, "")] * 6


def test_an_emptied_redis_refuses_for_a_lease_and_then_knows_everything(
    scripted: Scripted, redis_server: RedisServer
) -> None:
    answer = Reply("A", usage=Usage(input_tokens=1, output_tokens=100))
    scripted(answer, answer, BUDGETS=TOTAL, COST_STORES=redis(redis_server), RETRY={"attempts": 1})
    assert ask().success
    with valkey.Valkey.from_url(redis_server.url) as client:
        client.flushall()
    refused = ask()
    assert (refused.error, refused.success) == ("transient", False)
    assert "has lost its totals" in refused.error_message
    pass_the_lease()
    assert ask().success
    assert totals() == (802_000, 0)
    assert ask().error == "budget_exceeded"


def test_stand_in_and_store_together_never_pass_the_limit(
    scripted: Scripted, redis_server: RedisServer
) -> None:
    answers = [Reply("A", usage=Usage(input_tokens=33, output_tokens=100)) for _ in range(10)]
    stores = redis(redis_server)
    stores["spare"] = {"BACKEND": f"{STORES}.database.DatabaseCostStore"}
    kit = scripted(
        *answers,
        BUDGETS=[entry(period="total", limit_usd="0.00433")],  # ten calls
        COST_STORES=stores,
        MONEY={"stand_in": "spare", "stand_in_percent": 40},
        RETRY={"attempts": 1},
    )
    store: Any = cost_stores["default"]
    url = store._url
    outcomes = []
    for number in range(30):
        store._url = "redis://127.0.0.1:1/0" if number % 2 else url
        store._process.link = None
        outcomes.append(ask().success)
    assert kit.provider.call_count == sum(outcomes) == 10
    assert sum(outcomes[0::2]) == 6
    spent = sum(row.cost_usd for row in AIOperation.objects.all())
    assert spent == Decimal("0.00433")


@requires("redis")
def test_without_a_stand_in_money_fails_closed(scripted: Scripted) -> None:
    stores = {
        "default": {
            "BACKEND": f"{STORES}.redis.RedisCostStore",
            "OPTIONS": {"url": "redis://127.0.0.1:1/0"},
        }
    }
    kit = scripted("A", BUDGETS=TOTAL, COST_STORES=stores, RETRY={"attempts": 1})
    result = ask()
    assert (result.error, kit.provider.call_count) == ("transient", 0)
    assert "name a stand-in in OBC_AI['MONEY']" in result.error_message
    with pytest.raises(CostStoreError):
        result.raise_for_error()


def test_a_hold_that_lasts_is_renewed_by_its_owner(scripted: Scripted) -> None:
    stores = {"default": {"BACKEND": f"{STORES}.memory.MemoryCostStore",
                          "OPTIONS": {"lease_seconds": 0.3}}}  # fmt: skip

    def answer(request: GenerationRequest) -> Reply:
        threading.Event().wait(0.9)
        assert cost_stores["default"].expire() == []
        return Reply("A", usage=Usage(input_tokens=1, output_tokens=10))

    scripted(answer, BUDGETS=TOTAL, COST_STORES=stores)
    assert ask().success
    assert totals() == (41_000, 0)
    assert not leases._holds.open


def test_calls_of_usual_length_share_one_thread_for_their_leases(scripted: Scripted) -> None:
    threads = set()

    def answer(request: GenerationRequest) -> Reply:
        threads.add(keeper._keeper.thread)
        return Reply("A", usage=Usage(input_tokens=1, output_tokens=1))

    scripted(*[answer] * 3, BUDGETS=TOTAL)
    assert all(ask().success for _ in range(3))
    assert len(threads) == 1


def test_a_thread_for_leases_that_died_is_replaced(scripted: Scripted) -> None:
    scripted(BUDGETS=TOTAL)
    dead = threading.Thread(target=len, args=("",))
    dead.start()
    dead.join()
    keeper._keeper.thread = dead
    held_by_the_dead()
    assert keeper._keeper.thread is not dead


def test_details_hold_no_prompt() -> None:
    attempt = budget.Attempt(
        ceiling_usd=Decimal(1), tokens=1, model="m", info=CallInfo(operation_id=uuid.uuid4()),
        at=datetime.datetime.now(datetime.UTC),
    )  # fmt: skip
    assert set(json.loads(attempt.details())) == {
        "operation", "operation_type", "module", "user", "scope", "content_type", "provider",
        "model", "at", "before_nano", "before_tokens", "before_requests",
    }  # fmt: skip


def test_the_thread_that_renews_ends_when_there_is_nothing_to_renew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(keeper, "_LINGER_SECONDS", 0.0)
    monkeypatch.setattr(keeper, "_keeper", keeper._Keeper())
    renewed = threading.Event()
    keeper.keep("hold", renewed.set, 0.01)
    assert renewed.wait(10)
    thread = keeper._keeper.thread
    keeper.drop("hold")
    assert thread is not None
    thread.join(10)
    assert not keeper.is_running()
