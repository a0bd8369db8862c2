"""Steps of backends in Redis that travel together, and the stream of rows that wait."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import valkey

from django_obc_ai.backends.cost_stores import BudgetsChangedError
from django_obc_ai.backends.cost_stores.redis import RedisCostStore
from django_obc_ai.backends.redis_link import RedisLink, ScriptCall
from django_obc_ai.backends.redis_rows import RedisRows
from django_obc_ai.exceptions import CostStoreError, CostStoreLostError
from django_obc_ai.types import Amount, BudgetHold, BudgetTotals
from tests.servers.valkey import RedisServer

redis = pytest.importorskip("redis", reason="needs the extra 'redis'")

HOLD = BudgetHold(key="a", limit_nano=10)


@pytest.fixture
def store(redis_server: RedisServer) -> Iterator[RedisCostStore]:
    made = RedisCostStore(url=redis_server.url)
    assert made.rebuild(dict, is_new=True)
    yield made
    made.close()


@pytest.fixture
def other(redis_server: RedisServer) -> Iterator[RedisCostStore]:
    """The same store in a process that has not asked it yet."""
    made = RedisCostStore(url=redis_server.url)
    yield made
    made.close()


def test_steps_of_a_call_travel_together(store: RedisCostStore) -> None:
    first, second = uuid.uuid4(), uuid.uuid4()
    assert store.reserve(first, [HOLD], Amount(nano=4)) is None
    row = store.keep_row_step("db", "text")
    settle = store.settle_step(first, Amount(nano=3))
    reserve = store.reserve_step(second, [HOLD], Amount(nano=7))
    replies = store.run_all([row.call, settle.call, reserve.call])
    entry = row.read(replies[0])
    settled = settle.read(replies[1])
    assert settled is not None
    assert settled.totals == {"a": BudgetTotals(spent_nano=3)}
    assert reserve.read(replies[2]) is None
    assert store.totals(["a"]) == {"a": BudgetTotals(spent_nano=3, held_nano=7)}
    assert list(store.rows()) == [(entry, "db", "text")]


def test_a_reservation_that_travelled_without_knowing_the_epoch_is_made_again(
    store: RedisCostStore, other: RedisCostStore
) -> None:
    reservation = uuid.uuid4()
    row = other.keep_row_step("db", "1")
    reserve = other.reserve_step(reservation, [HOLD], Amount(nano=4))
    replies = other.run_all([row.call, reserve.call])
    assert replies[1][0] == b"epoch"
    row.read(replies[0])
    assert reserve.read(replies[1]) is None
    assert store.totals(["a"]) == {"a": BudgetTotals(held_nano=4)}
    assert len(list(store.rows())) == 1  # only what had to be was made again
    assert other.settle(reservation, Amount(nano=1))


def test_a_reservation_that_travelled_to_a_lost_store_holds_nothing(
    store: RedisCostStore, redis_server: RedisServer
) -> None:
    step = store.reserve_step(uuid.uuid4(), [HOLD], Amount(nano=4))
    with valkey.Valkey.from_url(redis_server.url) as client:
        client.flushall()
    (reply,) = store.run_all([step.call])
    with pytest.raises(CostStoreLostError):
        step.read(reply)


def test_a_reservation_under_older_budgets_holds_nothing_and_names_the_newer(
    store: RedisCostStore, other: RedisCostStore
) -> None:
    def ask(budgets: str) -> Any:
        return store.run_step(
            store.reserve_step(uuid.uuid4(), [HOLD], Amount(nano=1), budgets=budgets)
        )

    assert ask("") is None
    versions = []
    for _ in range(2):
        other.note_budgets()
        with pytest.raises(BudgetsChangedError) as raised:
            ask("")
        versions.append(raised.value.version)
    assert versions[0] != versions[1]
    assert store.totals(["a"]) == {"a": BudgetTotals(held_nano=1)}
    assert ask(versions[1]) is None
    # Who does not say what it has read is not refused.
    assert store.reserve(uuid.uuid4(), [HOLD], Amount(nano=1)) is None


def test_the_order_holds_for_a_server_that_does_not_know_the_scripts(
    store: RedisCostStore, redis_server: RedisServer
) -> None:
    for _ in range(2):
        first, second = uuid.uuid4(), uuid.uuid4()
        store.reserve(first, [HOLD], Amount(nano=10))
        settle = store.settle_step(first, Amount())
        reserve = store.reserve_step(second, [HOLD], Amount(nano=10))
        replies = store.run_all([settle.call, reserve.call])
        assert settle.read(replies[0]) is not None
        assert reserve.read(replies[1]) is None
        store.settle(second, Amount())
        with valkey.Valkey.from_url(redis_server.url) as client:
            client.script_flush()
            client.client_kill_filter(_type="normal", skipme=True)  # as a restart does


class OnlyRows(RedisRows):
    """The least that keeps rows."""

    _prefix = "only"

    def __init__(self, url: str) -> None:
        self._url = url
        self.link = RedisLink(redis, url=url, timeout_seconds=2, translate=_translated)

    @property
    def server(self) -> str:
        return self._url

    def run_all(self, calls: Sequence[ScriptCall]) -> list[Any]:
        return self.link.run_all(calls)


def _translated(error: Exception) -> CostStoreError:
    return CostStoreError(type(error).__name__)


def test_rows_are_read_in_pages_from_the_oldest_and_dropped_by_id(
    redis_server: RedisServer,
) -> None:
    log = OnlyRows(redis_server.url)
    kept = [log.keep_row("db", f"Ü {number}") for number in range(250)]
    assert [(entry, text) for entry, _, text in log.rows()] == [
        (entry, f"Ü {number}") for number, entry in enumerate(kept)
    ]
    assert list(log.rows(older_than_seconds=60)) == []
    log.drop_rows(kept[:220])
    log.drop_rows(kept[:220])
    assert [entry for entry, _, _ in log.rows()] == kept[220:]
    log.drop_rows([])
    log.link.close()


def test_rows_survive_their_removal_while_they_are_read(redis_server: RedisServer) -> None:
    log = OnlyRows(redis_server.url)
    kept = [log.keep_row("db", str(number)) for number in range(150)]
    seen = []
    for entry, _, _ in log.rows():
        log.drop_rows([entry])
        seen.append(entry)
    assert seen == kept
    log.link.close()
