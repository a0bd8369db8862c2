"""What becomes of rows that wait when their process, Redis, or both are killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import valkey
from django.db import connections

from django_obc_ai.gateway import batch, recovery
from django_obc_ai.models import AIOperation
from django_obc_ai.services.ledger import drain_spool
from django_obc_ai.testing import override_ai
from tests.extras import requires
from tests.gateway.conftest import PRICES
from tests.gateway.holds import pass_the_lease, totals
from tests.gateway.test_batched_rows import PLENTY, segments_in, stream_of
from tests.gateway.test_recovery import redis
from tests.servers.valkey import RedisServer, run_redis

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "postgres"]),
    pytest.mark.usefixtures("postgres_alias"),
]
ROOT = Path(__file__).parents[2]
FOR_EVER = 3_600.0


class Worker:
    """A process of `batch_in_process`."""

    def __init__(self, settings: dict[str, Any], *, pause: float) -> None:
        alias = settings["DATABASE"]
        database = {k: v for k, v in connections.databases[alias].items() if k != "TEST"}
        scripted = {
            "BACKEND": "django_obc_ai.testing.ScriptedProvider",
            "OPTIONS": {"script": ["A"], "repeat_last": True},
        }
        given = {
            "DATABASES": {"default": database},
            "OBC_AI": {**settings, "DATABASE": "default", "PROVIDERS": {"default": scripted}},
            "pause": pause,
        }
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.gateway.batch_in_process",
                json.dumps(given, default=str),
            ],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.answered: list[UUID] = []

    def tell(self, command: str) -> None:
        """Give a command, and return when it is done."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()
        while (line := self._line()) != "ok":
            self._note(line)

    def wait_for(self, number: int) -> None:
        """Return when so many calls were answered."""
        while len(self.answered) < number:
            self._note(self._line())

    def end(self) -> int:
        """End in order; return the exit code."""
        assert self.process.stdin is not None
        self.process.stdin.write("end\n")
        return self._close()

    def kill(self) -> None:
        """Kill it, and read what it had answered."""
        self.process.kill()
        self._close()

    def _close(self) -> int:
        # Not communicate(), which knows nothing of what readline() has read ahead.
        assert self.process.stdin is not None and self.process.stdout is not None
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        for line in self.process.stdout:
            self._note(line.strip())
        self.process.stdout.close()
        return self.process.wait(60)

    def _line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the worker has died"
        return line.strip()

    def _note(self, line: str) -> None:
        operation, _, success = line.partition(" ")
        if success:
            assert success == "True"
            self.answered.append(UUID(operation))


@pytest.fixture(params=["default", "postgres"])
def alias(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def started(alias: str, folder: Path) -> Iterator[Any]:
    """Return a function that starts a worker on settings that the test has, too."""
    with ExitStack() as stack:

        def start(*, pause: float = FOR_EVER, **settings: Any) -> Worker:
            given = {
                "DATABASE": alias,
                "PRICES": PRICES,
                "LOG": {"rows": "batched", "spool": str(folder)},
                "RATE_LIMITS": {"default": {"per_minute": None, "per_day": None}},
                **settings,
            }
            stack.enter_context(override_ai(**given))
            worker = Worker(given, pause=pause)
            stack.callback(lambda: worker.process.poll() is None and worker.kill())
            return worker

        yield start


def ids() -> list[UUID]:
    return sorted(AIOperation.objects.values_list("pk", flat=True))


def spent() -> int:
    return sum(int(row.cost_usd * 10**9) for row in AIOperation.objects.all())


def test_killed_between_settlement_and_row_in_redis(
    started: Any, folder: Path, redis_server: RedisServer
) -> None:
    worker = started(BUDGETS=PLENTY, COST_STORES=redis(redis_server))
    worker.tell("ask 20")
    worker.kill()
    assert (ids(), stream_of(redis_server), segments_in(folder)) == ([], 20, [])
    assert totals() == (20 * 931_000, 0)

    def drain(_: int) -> int:
        try:
            return drain_spool().stored
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(drain, range(4))) == 20
    assert drain_spool().stored == 0
    assert ids() == sorted(worker.answered)
    assert (spent(), stream_of(redis_server)) == (20 * 931_000, 0)


def test_killed_while_rows_wait_on_disk(started: Any, folder: Path) -> None:
    worker = started()
    worker.tell("ask 20")
    assert drain_spool().stored == 0  # its owner lives
    worker.kill()
    assert ids() == []
    assert len(segments_in(folder)) == 1
    assert (drain_spool().stored, drain_spool().stored) == (20, 0)
    assert ids() == sorted(worker.answered)
    assert not list(folder.glob("**/*.rows")) + list(folder.glob("in_flight/*.json"))


def test_a_living_process_takes_up_what_a_dead_one_left(
    started: Any, redis_server: RedisServer, alias: str
) -> None:
    settings = {"BUDGETS": PLENTY, "COST_STORES": redis(redis_server)}
    dead = started(**settings)
    dead.tell("ask 3")
    dead.kill()
    _age(redis_server)
    living = started(pause=0.05, **settings)
    living.tell("ask 1")
    deadline = time.monotonic() + 60
    while stream_of(redis_server):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert living.end() == 0
    assert ids() == sorted(dead.answered + living.answered)


def _age(server: RedisServer) -> None:
    """Give the entries the ids that they would have if they had been made a minute before."""
    key = "{obc-ai:costs}:rows"
    with valkey.Valkey.from_url(server.url) as client:
        entries = client.xrange(key)
        client.delete(key)
        for entry, fields in entries:
            millis, _, number = entry.decode().partition("-")
            client.xadd(key, fields, id=f"{int(millis) - 60_000}-{number}")


@requires("redis")
def test_redis_restarted_empty_costs_no_row(started: Any) -> None:
    with run_redis() as first:
        worker = started(BUDGETS=PLENTY, COST_STORES=redis(first, lease_seconds=0.5))
        worker.tell("ask 20")
        os.kill(first.pid, signal.SIGKILL)
        first.supervised.process.wait(30)
        with run_redis(first.port) as second:
            worker.tell("flush")
            assert ids() == sorted(worker.answered)
            assert stream_of(second) == 0
            deadline = time.monotonic() + 30
            while not recovery.rebuild():
                assert time.monotonic() < deadline
                time.sleep(0.1)
            assert totals() == (spent(), 0) == (20 * 931_000, 0)
            assert worker.end() == 0


@requires("redis")
def test_redis_and_process_killed_together_lose_what_waited_and_no_more(started: Any) -> None:
    assert batch._PAUSE_SECONDS <= 1  # that is how long rows wait
    with run_redis() as server:
        worker = started(BUDGETS=PLENTY, COST_STORES=redis(server))
        worker.tell("ask 20")
        worker.tell("flush")
        worker.tell("ask 7")
        os.kill(server.pid, signal.SIGKILL)
        worker.kill()
        server.supervised.process.wait(30)
        assert drain_spool().left == 1  # Redis is away: nobody knows what waits there
    kept = ids()
    assert set(kept) < set(worker.answered)
    assert len(worker.answered) - len(kept) == 7


@pytest.mark.parametrize("place", ["redis", "disk"])
def test_killed_at_any_moment_every_answer_has_its_row_once(
    started: Any, request: pytest.FixtureRequest, place: str
) -> None:
    settings: dict[str, Any] = {}
    if place == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        settings = {"BUDGETS": PLENTY, "COST_STORES": redis(server)}
    answered: set[UUID] = set()
    for number in range(3):
        worker = started(pause=0.02, **settings)
        worker.tell("ask 1")
        worker.tell("go 4")
        worker.wait_for(40 + 13 * number)
        worker.kill()
        answered |= set(worker.answered)
    if place == "redis":
        pass_the_lease()
        recovery.sweep()
    drain_spool()
    assert answered <= set(ids())
    extra = AIOperation.objects.exclude(pk__in=answered)
    # The call of each thread that was killed before it was told its answer.
    assert extra.count() <= 12
    if place == "redis":
        assert totals() == (spent(), 0)
    assert drain_spool().stored == 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_writes_its_own_rows_alone(started: Any, folder: Path) -> None:
    worker = started()
    worker.tell("ask 3")
    worker.tell("fork")
    assert worker.end() == 0
    assert len(worker.answered) == 5
    assert ids() == sorted(worker.answered)
    assert segments_in(folder) == []


def test_a_process_that_ends_in_order_leaves_nothing(
    started: Any, folder: Path, redis_server: RedisServer
) -> None:
    worker = started(BUDGETS=PLENTY, COST_STORES=redis(redis_server))
    worker.tell("ask 5")
    assert ids() == []
    assert worker.end() == 0
    assert ids() == sorted(worker.answered)
    assert (stream_of(redis_server), segments_in(folder)) == (0, [])


def test_two_processes_write_their_rows_while_others_drain(
    started: Any, redis_server: RedisServer
) -> None:
    settings = {"BUDGETS": PLENTY, "COST_STORES": redis(redis_server)}
    workers = [started(pause=0.02, **settings) for _ in range(2)]
    workers[0].tell("ask 1")  # fills the store
    done = threading.Event()

    def drain() -> None:
        while not done.is_set():
            drain_spool()
        connections.close_all()

    drains = [threading.Thread(target=drain) for _ in range(2)]
    for each in drains:
        each.start()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda worker: worker.tell("ask 60"), workers))
    done.set()
    for each in drains:
        each.join()
    assert [worker.end() for worker in workers] == [0, 0]
    assert ids() == sorted(workers[0].answered + workers[1].answered)
    assert totals() == (spent(), 0) == (121 * 931_000, 0)
    assert stream_of(redis_server) == 0


def test_rows_of_another_database_are_left_alone(
    started: Any, redis_server: RedisServer, alias: str
) -> None:
    worker = started(BUDGETS=PLENTY, COST_STORES=redis(redis_server))
    worker.tell("ask 2")
    worker.kill()
    other = "postgres" if alias == "default" else "default"
    settings = {"DATABASE": other, "COST_STORES": redis(redis_server)}
    with override_ai(LOG={"rows": "batched", "spool": None}, **settings):
        assert drain_spool().stored == 0
        assert stream_of(redis_server) == 2
        assert drain_spool(is_from_any=True).stored == 2
        assert ids() == sorted(worker.answered)
