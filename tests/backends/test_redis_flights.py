"""Flights in Redis, on a real server."""

from __future__ import annotations

import os
import uuid
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import valkey
from django.test import SimpleTestCase

from django_obc_ai.backends.coordinators import BaseCoordinator
from django_obc_ai.backends.coordinators.redis import RedisCoordinator
from django_obc_ai.exceptions import CoordinatorError
from django_obc_ai.testing import FlightContract
from tests.extras import requires
from tests.servers.valkey import RedisServer, run_redis


@pytest.mark.usefixtures("_server")
class RedisFlightTests(FlightContract, SimpleTestCase):
    server: RedisServer

    @pytest.fixture
    def _server(self, redis_server: RedisServer) -> None:
        self.server = redis_server

    def make_coordinator(self) -> BaseCoordinator:
        coordinator = RedisCoordinator(url=self.server.url, prefix=uuid.uuid4().hex)
        self.addCleanup(coordinator.close)
        return coordinator


@pytest.fixture
def coordinator(redis_server: RedisServer) -> Iterator[RedisCoordinator]:
    made = RedisCoordinator(url=redis_server.url)
    yield made
    made.close()


def test_it_goes_by_the_clock_of_the_server(coordinator: RedisCoordinator) -> None:
    assert coordinator.board("k", "a", age_seconds=0).role == "lead"
    assert coordinator.board("k", "b", age_seconds=0).role == "follow"
    coordinator.land("k", "a", "yes", keep_seconds=60)
    assert coordinator.board("k", "b", age_seconds=60).answer == "yes"
    assert coordinator.board("k", "c", age_seconds=0).role == "lead"


def test_every_key_vanishes_by_itself_and_lies_in_one_slot(
    coordinator: RedisCoordinator, redis_server: RedisServer
) -> None:
    steps: list[Callable[[], object]] = [
        lambda: coordinator.board("k", "a", age_seconds=0),
        lambda: coordinator.publish("k", "a", "text"),
        lambda: coordinator.renew_flight("k", "a"),
        lambda: coordinator.land("k", "a", "yes", keep_seconds=60),
        lambda: coordinator.board("l", "a", age_seconds=0),
        lambda: coordinator.land("l", "a", None, keep_seconds=60),
    ]
    numbers = []
    with valkey.Valkey.from_url(redis_server.url) as client:
        for step in steps:
            step()
            keys = client.keys()
            numbers.append(len(keys))
            assert all(0 < client.pttl(key) <= 60_000 for key in keys)
            assert all(key.startswith(b"{obc-ai:shared}:flight:") for key in keys)
    assert numbers == [1, 2, 2, 1, 2, 1]


def test_a_step_that_arrives_twice_counts_once(coordinator: RedisCoordinator) -> None:
    begin = coordinator.board_call("k", "a", age_seconds=0)
    words = [coordinator.publish_call("k", "a", piece) for piece in ("one, ", "two")]
    look = coordinator.board_call("k", "b", age_seconds=60)
    replies = coordinator.run_all([begin, begin, words[0], words[0], words[1], words[1], look])
    assert [coordinator.read_board(each).role for each in replies[:2]] == ["lead", "lead"]
    assert coordinator.read_board(replies[-1]).text == "one, two"
    end = coordinator.land_step("k", "a", "yes", keep_seconds=60).call
    replies = coordinator.run_all([end, end, look])
    assert coordinator.read_board(replies[-1]).answer == "yes"


def test_a_server_that_forgot_everything_lets_the_next_lead(
    coordinator: RedisCoordinator, redis_server: RedisServer
) -> None:
    coordinator.board("k", "a", age_seconds=0)
    with valkey.Valkey.from_url(redis_server.url) as client:
        client.flushall()
        client.script_flush()
    coordinator.publish("k", "a", "nothing")
    coordinator.land("k", "a", "nothing", keep_seconds=60)
    assert coordinator.board("k", "b", age_seconds=60).role == "lead"


def test_projects_that_share_a_server_differ_in_their_prefix(redis_server: RedisServer) -> None:
    first, second = (RedisCoordinator(url=redis_server.url, prefix=each) for each in "ab")
    assert first.board("k", "a", age_seconds=0).role == "lead"
    assert second.board("k", "a2", age_seconds=0).role == "lead"
    first.close()
    second.close()


def test_a_forked_child_has_a_connection_of_its_own(coordinator: RedisCoordinator) -> None:
    coordinator.board("k", "a", age_seconds=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the test runner's own threads
        pid = os.fork()
    if pid == 0:
        role = coordinator.board("k", "child", age_seconds=0).role
        coordinator.close()
        os._exit(0 if role == "follow" else 1)
    assert coordinator.board("k", "b", age_seconds=0).role == "follow"
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@requires("redis")
def test_a_server_that_is_away_is_an_error_that_tells_no_secret() -> None:
    with run_redis() as server:
        url = server.url.replace("//", "//:hunter2@")
        coordinator = RedisCoordinator(url=server.url)
        coordinator.board("k", "a", age_seconds=0)
    for each in (coordinator, RedisCoordinator(url=url)):
        with pytest.raises(CoordinatorError) as raised:
            each.board("k", "a", age_seconds=0)
        assert raised.value.retryable
        assert "OBC_AI['COORDINATORS']" in str(raised.value)
        for secret in ("hunter2", "127.0.0.1", str(server.port)):
            assert secret not in str(raised.value)
    with run_redis(server.port):
        assert coordinator.board("k", "b", age_seconds=0).role == "lead"
    coordinator.close()


@pytest.mark.parametrize("options", [{"prefix": "a{b"}, {"prefix": "}"}, {"timeout_seconds": 0}])
def test_options_that_cannot_work_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"prefix|timeout_seconds"):
        RedisCoordinator(**options)
