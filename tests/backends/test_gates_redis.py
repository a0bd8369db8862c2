"""Gates in Redis, on a real server."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Any, get_args

import pytest
import valkey
from django.test import SimpleTestCase

from django_obc_ai.backends.coordinators import BaseCoordinator
from django_obc_ai.backends.coordinators.memory import MemoryCoordinator
from django_obc_ai.backends.coordinators.redis import RedisCoordinator
from django_obc_ai.testing import GateContract
from django_obc_ai.types.coordination import Admission, GateState, Limits, Reason
from tests.backends.gate_in_process import check_processes
from tests.backends.gate_steps import compare
from tests.servers.valkey import RedisServer


@pytest.mark.usefixtures("_server")
class RedisGateTests(GateContract, SimpleTestCase):
    server: RedisServer

    @pytest.fixture
    def _server(self, redis_server: RedisServer) -> None:
        self.server = redis_server

    def make_coordinator(self) -> BaseCoordinator:
        coordinator = RedisCoordinator(url=self.server.url, prefix=uuid.uuid4().hex)
        self.addCleanup(coordinator.close)
        return coordinator


@pytest.fixture
def gates(redis_server: RedisServer) -> Iterator[RedisCoordinator]:
    made = RedisCoordinator(url=redis_server.url)
    yield made
    made.close()


@pytest.mark.parametrize("seed", range(12))
def test_the_scripts_are_the_rules(gates: RedisCoordinator, seed: int) -> None:
    compare(gates, MemoryCoordinator(), seed=seed, count=1_000)


def test_the_random_steps_come_by_every_answer() -> None:
    answers: list[Any] = []
    for seed in range(12):
        answers += compare(MemoryCoordinator(), MemoryCoordinator(), seed=seed, count=1_000)
    told = {each.reason for each in answers if isinstance(each, (Admission, GateState))}
    assert told == set(get_args(Reason))
    assert answers.count(Admission()) > 500


def test_it_goes_by_the_clock_of_the_server(gates: RedisCoordinator) -> None:
    limits = Limits(requests=1)
    gates.acquire("default", "a", tokens=1, limits=limits, patience_seconds=0)
    refused = gates.acquire("default", "b", tokens=1, limits=limits, patience_seconds=0)
    assert 59 < refused.wait_seconds <= 60
    gates.release("default", "a", verdict="throttled", limits=limits, closed_seconds=60)
    until = gates.gate_state("default", limits).until
    assert until is not None and abs(until - 60 - time.time()) < 30


@pytest.mark.parametrize("limits", [Limits(requests=2), Limits(tokens=2, failures=1, per_day=5)])
def test_every_key_vanishes_by_itself_and_lies_in_one_slot(
    gates: RedisCoordinator, redis_server: RedisServer, limits: Limits
) -> None:
    with valkey.Valkey.from_url(redis_server.url) as client:
        for number in range(60):
            permit = str(number // 2)
            now = 1_900_000_000 + number * 7
            gates.clock = lambda now=now: now  # type: ignore[misc]  # bound early
            gates.acquire("default", permit, tokens=1, limits=limits, patience_seconds=99)
            if number % 3:
                verdict: Any = ("ok", "failed", "unsent")[number % 3]
                gates.release("default", permit, verdict=verdict, limits=limits)
            keys = client.keys()
            assert keys and all(key.startswith(b"{obc-ai:shared}:gate:default") for key in keys)
            assert all(0 < client.pttl(key) <= 3 * 86_400_000 for key in keys)
        gates.clock = lambda: 1_900_010_000
        gates.acquire("default", "last", tokens=1, limits=limits, patience_seconds=0)
        fields = client.hkeys("{obc-ai:shared}:gate:default")
        assert [name for name in fields if name.startswith(b"p:")] in ([], [b"p:last"])


@pytest.mark.parametrize("part", ["", ":counted", ":queue"])
def test_a_gate_of_which_a_part_was_evicted_counts_anew(
    gates: RedisCoordinator, redis_server: RedisServer, part: str
) -> None:
    limits = Limits(requests=2)
    for permit in "abcd":
        gates.acquire("default", permit, tokens=1, limits=limits, patience_seconds=99)
    with valkey.Valkey.from_url(redis_server.url) as client:
        assert client.delete(f"{{obc-ai:shared}}:gate:default{part}") == 1
    for permit, reason in (("x", ""), ("y", ""), ("z", "requests")):
        found = gates.acquire("default", permit, tokens=1, limits=limits, patience_seconds=0)
        assert found.reason == reason
    assert gates.gate_state("default", limits).waiting == 0


def test_calls_of_many_scripts_make_one_round_trip(gates: RedisCoordinator) -> None:
    limits = Limits(requests=1)
    asks = [
        gates.acquire_step("default", permit, tokens=5, limits=limits, patience_seconds=0)
        for permit in "aab"
    ]
    end = gates.release_step("default", "a", verdict="throttled", limits=limits, closed_seconds=3)
    calls = [*(ask.call for ask in asks), end.call, end.call]
    *asked, ended, again = gates.run_all(calls)
    found = [ask.read(reply).reason for ask, reply in zip(asks, asked, strict=True)]
    assert found == ["", "", "requests"]
    closed = end.read(ended)
    assert closed is not None and closed.reason == "throttled"
    assert end.read(again) is None


def test_an_open_gate_takes_few_commands(
    gates: RedisCoordinator, redis_server: RedisServer
) -> None:
    limits = Limits(requests=1_000, tokens=10**6, per_day=10**6, failures=5)
    gates.clock = lambda: 1_900_000_000

    def call(permit: str) -> None:
        gates.acquire("default", permit, tokens=9, limits=limits, patience_seconds=9)
        gates.release("default", permit, verdict="ok", limits=limits, tokens=5)

    call("first")
    with valkey.Valkey.from_url(redis_server.url) as client:
        client.config_resetstat()
        for number in range(50):
            call(str(number))
        counts = client.info("commandstats")
    made = {name: each["calls"] for name, each in counts.items() if name != "cmdstat_info"}
    made.pop("cmdstat_config|resetstat", None)
    assert made == {
        "cmdstat_evalsha": 100, "cmdstat_hmget": 100, "cmdstat_hset": 100, "cmdstat_zadd": 100,
    }  # fmt: skip


def test_four_processes_never_pass_the_limit_in_any_window(redis_server: RedisServer) -> None:
    check_processes({"url": redis_server.url})
