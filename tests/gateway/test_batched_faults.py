"""Rows that wait to be written together, when Redis, the database, a thread or a file fails."""

from __future__ import annotations

import threading
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import OperationalError

from django_obc_ai.backends.cost_stores import cost_stores
from django_obc_ai.gateway import batch, draining, inserts, ledger, spool
from django_obc_ai.models import AIOperation
from django_obc_ai.services.ledger import flush_rows
from tests.gateway.conftest import ANSWER, COST, Batched, ask, pks
from tests.gateway.holds import totals
from tests.gateway.test_batched_rows import PLENTY, segments_in, stream_of
from tests.gateway.test_recovery import redis
from tests.servers.valkey import RedisServer

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_redis_that_fails_is_replaced_by_the_disk_and_not_asked_again_at_once(
    batched: Batched, folder: Path, redis_server: RedisServer
) -> None:
    batched(COST_STORES=redis(redis_server))
    ask()
    store: Any = cost_stores["default"]
    url, store._url = store._url, "redis://127.0.0.1:1/0"
    store._process.link = None
    ask()
    assert draining.batch.log is None
    ask()
    (segment,) = segments_in(folder)
    assert len(segment.read_text().splitlines()) == 2
    store._url, store._process.link = url, None
    flush_rows()
    assert (len(pks()), stream_of(redis_server)) == (3, 0)
    draining.batch._avoid_until = 0.0
    ask()
    assert stream_of(redis_server) == 1


def test_a_settlement_that_fails_leaves_the_row_on_disk_and_is_made_later(
    batched: Batched, folder: Path, redis_server: RedisServer
) -> None:
    store: Any = None

    def answer(_: Any) -> Any:
        store._url, store._process.link = "redis://127.0.0.1:1/0", None
        return ANSWER

    batched(answer, BUDGETS=PLENTY, COST_STORES=redis(redis_server))
    store = cost_stores["default"]
    url = store._url
    ask()
    assert len(segments_in(folder)) == 1
    store._url, store._process.link = url, None
    from django_obc_ai.gateway import leases

    leases.settle_again()
    flush_rows()
    assert (totals(), len(pks())) == ((931_000, 0), 1)


def test_where_no_thread_can_be_started_the_call_writes(
    batched: Batched, monkeypatch: pytest.MonkeyPatch
) -> None:
    batched()
    monkeypatch.setattr(draining.batch, "_thread", None)

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        asked = ask()
    assert pks() == {asked.operation_id}


def test_a_thread_that_does_not_run_is_helped(
    batched: Batched, monkeypatch: pytest.MonkeyPatch
) -> None:
    batched()
    ask()
    assert pks() == set()
    monkeypatch.setattr("django_obc_ai.gateway.batch._LATE_SECONDS", 0.0)
    ask()
    assert len(pks()) == 2


def test_a_database_that_is_away_costs_no_row(batched: Batched, folder: Path) -> None:
    batched()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inserts, "_execute", _away)
        ask()
        ask(), flush_rows()
        assert len(segments_in(folder)) == 1
        assert ledger.drain("default").left == 2
    assert pks() == set()
    assert ledger.drain("default").stored == 2
    assert (segments_in(folder), len(pks())) == ([], 2)


def test_without_a_disk_rows_wait_for_the_database_in_memory(
    batched: Batched, redis_server: RedisServer
) -> None:
    batched(COST_STORES=redis(redis_server), LOG={"spool": None})
    ask()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inserts, "_execute", _away)
        flush_rows()
        ask()
        flush_rows()
    assert (pks(), stream_of(redis_server)) == (set(), 2)
    flush_rows()
    assert (len(pks()), stream_of(redis_server)) == (2, 0)


def _away(*_: Any) -> None:
    raise OperationalError("away")


class Outage:
    """A database that is away, a clock that stands still, and the tries that were made."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = 1_000.0
        self.tries = 0
        self.tried = threading.Event()
        patch.setattr(batch, "time", SimpleNamespace(monotonic=lambda: self.now))
        patch.setattr(draining.batch, "_rest_at", float("inf"))
        patch.setattr(inserts, "store_all", self._fail)

    def _fail(self, *_: Any, **__: Any) -> None:
        self.tries += 1
        self.tried.set()
        raise OperationalError("away")


def _add(count: int) -> None:
    for _ in range(count):
        assert draining.batch.add(row(prompt_hash=""), "default", is_paid=False)


def test_the_thread_does_not_try_a_full_batch_again_at_once(batched: Batched) -> None:
    batched(LOG={"spool": None})
    with pytest.MonkeyPatch.context() as patch:
        outage = Outage(patch)
        _add(150)
        assert outage.tried.wait(30)
        outage.tried.clear()
        assert not outage.tried.wait(0.2)
        assert outage.tries == 1
    flush_rows()
    assert len(pks()) == 150


def test_calls_try_again_after_longer_and_longer_pauses_and_a_flush_at_once(
    batched: Batched,
) -> None:
    batched(LOG={"spool": None})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch, "_LATE", 1)  # as where no thread keeps up
        patch.setattr(batch, "_FULL", 10_000)
        outage = Outage(patch)
        _add(2)
        assert outage.tries == 1
        for tries, pause in enumerate((0.5, 1, 2, 4, 8, 10, 10), start=2):
            outage.now += pause - 0.25
            _add(2)
            assert outage.tries == tries - 1
            outage.now += 0.25
            _add(2)
            assert outage.tries == tries
        flush_rows()
        assert outage.tries == 9
        patch.undo()
    flush_rows()
    assert len(pks()) == 30
    assert draining.batch._waiting == {}


def row(**changes: Any) -> batch.Row:
    """A row that waits, without a call."""
    made = AIOperation(provider="p", success=True, cost_usd=Decimal(1), **changes)
    return batch.Row({each.attname: getattr(made, each.attname) for each in made._meta.fields})


@pytest.mark.parametrize(
    "fault",
    [
        {"prompt_hash": None},
        {"error_message": "half \ud83d"},
        {"input_tokens": 2**70},
        {"input_tokens": "many"},
        {"input_tokens": []},
    ],
)
def test_a_row_that_the_database_refuses_is_set_aside_and_the_others_are_written(
    batched: Batched, folder: Path, fault: dict[str, Any]
) -> None:
    batched()
    ask()
    bad = row(**fault)
    assert draining.batch.add(bad, "default", is_paid=True)
    ask()
    flush_rows()
    assert len(pks()) == 2
    assert [each.stem[-36:] for each in folder.glob("*.refused")] == [str(bad.values["id"])]
    assert segments_in(folder) == []


def test_a_row_takes_the_place_of_a_presumed_one(batched: Batched) -> None:
    batched()
    asked = ask()
    presumed = AIOperation(
        pk=asked.operation_id, provider="p", success=False, cost_usd=Decimal(9),
        cost_known=False, error_category="abandoned",
    )  # fmt: skip
    assert ledger.presume(presumed, "default") is None
    ask()
    flush_rows()
    assert set(AIOperation.objects.values_list("cost_usd", "cost_known")) == {(COST, True)}


def test_a_torn_line_is_no_row_and_a_broken_one_is_set_aside(
    batched: Batched, folder: Path
) -> None:
    batched()
    whole = AIOperation(provider="p", success=True, cost_usd=Decimal(1), prompt_hash="")
    (folder / "batches").mkdir(parents=True)
    lines = ["{", spool.dump(whole), spool.dump(whole)[:40]]
    path = folder / "batches" / f"{spool.mark_of('default')}-dead.rows"
    path.write_text("\n".join(lines))
    assert ledger.drain("default").stored == 1
    assert pks() == {whole.pk}
    assert not path.exists()
    assert len(list(folder.glob("*.broken"))) == 1
