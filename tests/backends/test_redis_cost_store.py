"""The cost store in Redis, on a real server: restarts, flushes, evictions, older snapshots."""

from __future__ import annotations

import os
import signal
import threading
import time
import uuid
from collections.abc import Iterator

import pytest
import valkey
from django.test import SimpleTestCase

from django_obc_ai.backends.cost_stores import BaseCostStore
from django_obc_ai.backends.cost_stores.redis import RedisCostStore
from django_obc_ai.exceptions import CostStoreError, CostStoreLostError
from django_obc_ai.testing import CostStoreContract
from django_obc_ai.types import Amount, BudgetHold, BudgetTotals
from tests.extras import requires
from tests.servers.valkey import RedisServer, run_redis

HOLD = BudgetHold(key="a", limit_nano=10)


def fresh(url: str, **options: float) -> RedisCostStore:
    """A store that nobody has used before."""
    store = RedisCostStore(url=url, **options)
    assert store.rebuild(dict, is_new=True)
    return store


@pytest.mark.usefixtures("_server")
class RedisCostStoreTests(CostStoreContract, SimpleTestCase):
    server: RedisServer

    @pytest.fixture
    def _server(self, redis_server: RedisServer) -> None:
        self.server = redis_server

    def make_store(self) -> BaseCostStore:
        store = RedisCostStore(url=self.server.url, prefix=uuid.uuid4().hex)
        self.addCleanup(store.close)
        store.rebuild(dict, is_new=True)
        return store


@pytest.fixture
def store(redis_server: RedisServer) -> Iterator[RedisCostStore]:
    made = fresh(redis_server.url)
    yield made
    made.close()


def test_a_server_never_used_admits_nothing_before_it_is_rebuilt(redis_server: RedisServer) -> None:
    store = RedisCostStore(url=redis_server.url)
    with pytest.raises(CostStoreLostError, match="rebuilt from the ledger"):
        store.reserve(uuid.uuid4(), [HOLD], Amount(nano=1))
    assert store.rebuild(lambda: {"a": 9}, is_new=True)
    assert store.reserve(uuid.uuid4(), [HOLD], Amount(nano=2)) == HOLD
    assert store.reserve(uuid.uuid4(), [HOLD], Amount(nano=1)) is None
    store.close()


@pytest.mark.parametrize("loss", ["flushall", "delete"])
def test_a_store_that_was_emptied_waits_for_one_lease(
    store: RedisCostStore, redis_server: RedisServer, loss: str
) -> None:
    now = [1_900_000_000.0]
    store.clock = lambda: now[0]
    open_one = uuid.uuid4()
    store.reserve(open_one, [HOLD], Amount(nano=6))
    with valkey.Valkey.from_url(redis_server.url) as client:
        client.flushall() if loss == "flushall" else client.delete(*client.keys())
    with pytest.raises(CostStoreLostError) as raised:
        store.reserve(uuid.uuid4(), [HOLD], Amount(nano=1))
    assert raised.value.retry_after_seconds == store.lease_seconds
    # Its hold was announced by the process that has it.
    assert store.totals(["a"]) == {"a": BudgetTotals(held_nano=6)}
    assert not store.rebuild(lambda: {"a": 3})
    now[0] += store.lease_seconds - 1
    store.renew()
    assert not store.rebuild(lambda: {"a": 3})
    now[0] += 2
    assert store.rebuild(lambda: {"a": 3})
    assert store.totals(["a"]) == {"a": BudgetTotals(spent_nano=3, held_nano=6)}
    assert store.reserve(uuid.uuid4(), [HOLD], Amount(nano=2)) == HOLD
    assert store.reserve(uuid.uuid4(), [HOLD], Amount(nano=1)) is None
    assert store.settle(open_one, Amount(nano=5))
    assert store.totals(["a"]) == {"a": BudgetTotals(spent_nano=8, held_nano=1)}


def test_every_owner_announces_its_holds_after_a_loss(redis_server: RedisServer) -> None:
    stores = [fresh(redis_server.url), RedisCostStore(url=redis_server.url)]
    for each, amount in zip(stores, (2, 3), strict=True):
        each.reserve(uuid.uuid4(), [HOLD], Amount(nano=amount))
    with valkey.Valkey.from_url(redis_server.url) as client:
        client.flushall()
    for each in stores:
        each.renew()
        each.renew()  # announced once
    assert stores[0].totals(["a"]) == {"a": BudgetTotals(held_nano=5)}
    for each in stores:
        each.close()


def test_a_call_that_ends_after_the_store_was_rebuilt_without_it_is_booked(
    redis_server: RedisServer,
) -> None:
    """Its process was stopped through the loss, the wait and the rebuild."""
    stopped, other = fresh(redis_server.url), RedisCostStore(url=redis_server.url)
    reservation = uuid.uuid4()
    stopped.reserve(reservation, [HOLD], Amount(nano=6))
    with valkey.Valkey.from_url(redis_server.url) as client:
        client.flushall()
    with pytest.raises(CostStoreLostError):
        other.reserve(uuid.uuid4(), [HOLD], Amount(nano=1))
    assert other.rebuild(dict, is_new=True)
    assert other.totals(["a"]) == {"a": BudgetTotals()}
    assert stopped.settle(reservation, Amount(nano=5))
    assert not stopped.settle(reservation, Amount(nano=5))
    assert other.totals(["a"]) == {"a": BudgetTotals(spent_nano=5)}
    stopped.close()
    other.close()


def test_what_is_settled_while_the_ledger_is_read_is_not_lost(redis_server: RedisServer) -> None:
    store = fresh(redis_server.url)
    reservation = uuid.uuid4()
    store.reserve(reservation, [HOLD], Amount(nano=6))
    with valkey.Valkey.from_url(redis_server.url) as client:
        client.flushall()
    store.renew()

    def read() -> dict[str, int]:
        store.settle(reservation, Amount(nano=5))
        return {"a": 1}

    assert store.rebuild(read, is_new=True)
    assert store.totals(["a"]) == {"a": BudgetTotals(spent_nano=6)}
    store.close()


def test_only_one_process_rebuilds(redis_server: RedisServer) -> None:
    stores = [RedisCostStore(url=redis_server.url) for _ in range(2)]
    inner: list[bool] = []

    def read() -> dict[str, int]:
        inner.append(stores[1].rebuild(lambda: {"a": 1}, is_new=True))
        return {"a": 1}

    assert stores[0].rebuild(read, is_new=True)
    assert inner == [False]
    assert stores[0].totals(["a"]) == {"a": BudgetTotals(spent_nano=1)}
    for each in stores:
        each.close()


@requires("redis")
def test_a_server_killed_and_restarted_empty_admits_nothing() -> None:
    with run_redis() as first:
        store = fresh(first.url)
        assert store.reserve(uuid.uuid4(), [HOLD], Amount(nano=10)) is None
        os.kill(first.pid, signal.SIGKILL)
        first.supervised.process.wait(30)
        with pytest.raises(CostStoreError, match="could not be asked"):
            store.reserve(uuid.uuid4(), [HOLD], Amount(nano=1))
        with run_redis(first.port):
            with pytest.raises(CostStoreLostError):
                store.reserve(uuid.uuid4(), [HOLD], Amount(nano=1))
            assert store.totals(["a"]) == {"a": BudgetTotals(held_nano=10)}
    store.close()


def test_an_older_snapshot_is_noticed_by_the_run_id(redis_server: RedisServer) -> None:
    """The hash comes back as it was, under another run id, as after a restart from a dump."""
    store = fresh(redis_server.url)
    with valkey.Valkey.from_url(redis_server.url) as client:
        client.hset("{obc-ai:costs}", "r", "of another server")
    late = RedisCostStore(url=redis_server.url)  # its connection is new
    with pytest.raises(CostStoreLostError):
        late.reserve(uuid.uuid4(), [HOLD], Amount(nano=1))
    with pytest.raises(CostStoreLostError):
        store.reserve(uuid.uuid4(), [HOLD], Amount(nano=1))
    store.close()
    late.close()


def test_an_older_snapshot_on_a_living_connection_is_noticed_by_the_counter(
    store: RedisCostStore, redis_server: RedisServer
) -> None:
    with valkey.Valkey.from_url(redis_server.url) as client:
        older = client.hgetall("{obc-ai:costs}")
        store.reserve(uuid.uuid4(), [HOLD], Amount(nano=4))
        client.hset("{obc-ai:costs}", mapping=older)
    with pytest.raises(CostStoreLostError):
        store.reserve(uuid.uuid4(), [HOLD], Amount(nano=1))


def test_holds_expire_although_the_sorted_set_was_evicted(
    store: RedisCostStore, redis_server: RedisServer
) -> None:
    now = [1_900_000_000.0]
    store.clock = lambda: now[0]
    store.reserve(uuid.uuid4(), [HOLD], Amount(nano=4))
    with valkey.Valkey.from_url(redis_server.url) as client:
        client.delete("{obc-ai:costs}:due")
    now[0] += store.lease_seconds + 1
    (expired,) = store.expire()
    assert expired.amount == Amount(nano=4)
    assert store.totals(["a"]) == {"a": BudgetTotals(spent_nano=4)}


def test_totals_of_periods_long_over_are_forgotten(store: RedisCostStore) -> None:
    now = [1_900_000_000.0]
    store.clock = lambda: now[0]
    ended = BudgetHold(key="old", ends_at=now[0] + 60)
    reservation, late = uuid.uuid4(), uuid.uuid4()
    for each in (reservation, late):
        store.reserve(each, [ended, BudgetHold(key="always")], Amount(nano=4))
    store.settle(reservation, Amount(nano=4))
    now[0] += 60 + 2 * store.lease_seconds + 1
    assert [each.reservation for each in store.expire()] == [late]
    now[0] += 3_601
    store.expire()
    assert store.totals(["old"]) == {"old": BudgetTotals()}
    assert store.settle(late, Amount(nano=1))
    assert store.totals(["old"]) == {"old": BudgetTotals()}
    assert store.totals(["always"])["always"].spent_nano == 5


@requires("redis")
def test_an_unreachable_server_is_an_error_of_the_cost_store() -> None:
    store = RedisCostStore(url="redis://:secret@127.0.0.1:1/0", timeout_seconds=0.2)
    for step in (
        lambda: store.reserve(uuid.uuid4(), [HOLD], Amount(nano=1)),
        lambda: store.settle(uuid.uuid4(), Amount(nano=1)),
        lambda: store.totals(["a"]),
        store.expire,
        lambda: store.rebuild(dict),
    ):
        with pytest.raises(CostStoreError, match="could not be asked") as raised:
            step()
        assert "secret" not in str(raised.value) + repr(store)
        assert raised.value.retryable


def test_options_are_checked_when_the_store_is_made() -> None:
    with pytest.raises(ValueError, match="brace"):
        RedisCostStore(prefix="a{b}")
    with pytest.raises(ValueError, match="above 0"):
        RedisCostStore(lease_seconds=0)


def test_the_server_keeps_time_where_no_clock_is_given(redis_server: RedisServer) -> None:
    store = fresh(redis_server.url, lease_seconds=0.2)
    store.reserve(uuid.uuid4(), [HOLD], Amount(nano=4))
    assert store.expire() == []
    time.sleep(0.3)
    assert len(store.expire()) == 1
    store.close()


def test_a_thousand_threads_steps_keep_one_book(store: RedisCostStore) -> None:
    hold = BudgetHold(key="b", limit_nano=500)
    admitted: list[int] = []

    def work() -> None:
        for _ in range(125):
            reservation = uuid.uuid4()
            if store.reserve(reservation, [hold], Amount(nano=3)) is None:
                store.settle(reservation, Amount(nano=2))
                admitted.append(2)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert store.totals(["b"]) == {"b": BudgetTotals(spent_nano=sum(admitted))}
    assert 497 < sum(admitted) <= 500
