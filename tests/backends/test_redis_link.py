"""The connections of one process to Redis, when they fail again and again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from django_obc_ai.backends.redis_link import RedisLink
from django_obc_ai.exceptions import CoordinatorError
from tests.servers.valkey import RedisServer, run_redis

redis = pytest.importorskip("redis", reason="needs the extra 'redis'")

OFTEN = 200  # redis-py's pool would make a hundred connections in its life


def _link(url: str) -> RedisLink:
    def translate(error: Exception) -> CoordinatorError:
        return CoordinatorError(type(error).__name__)

    return RedisLink(redis, url=url, timeout_seconds=2, translate=translate)


@pytest.fixture
def link(redis_server: RedisServer) -> Iterator[RedisLink]:
    made = _link(redis_server.url)
    yield made
    made.close()


def test_a_server_that_was_away_for_many_calls_is_reached_again() -> None:
    with run_redis() as server:
        port = server.port
    link = _link(server.url)
    for _ in range(OFTEN):
        with pytest.raises(CoordinatorError, match=r"^ConnectionError$"):
            link.run("return 1", 0)
    with run_redis(port):
        assert link.run("return 1", 0) == 1
    link.close()


def test_many_calls_whose_caller_was_interrupted_leave_no_trace(
    link: RedisLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    class TimeLimit(BaseException):
        pass

    def interrupt(*_: Any) -> None:
        raise TimeLimit

    with monkeypatch.context() as patch:
        patch.setattr(link, "_read", interrupt)
        for _ in range(OFTEN):
            with pytest.raises(TimeLimit):
                link.run("return 1", 0)
    assert link.run("return 2", 0) == 2


def test_idle_connections_that_the_server_has_closed_are_replaced_every_time(
    link: RedisLink,
) -> None:
    for number in range(OFTEN):
        link.ask("CLIENT", "KILL", "SKIPME", "no", "TYPE", "normal")
        assert link.run("return ARGV[1]", 0, number) == str(number).encode()
