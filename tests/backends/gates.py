"""Coordinators with gates and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django_obc_ai.backends.coordinators._database_gates import DatabaseGates
from django_obc_ai.backends.coordinators._memory_gates import MemoryGates
from django_obc_ai.backends.coordinators._redis_gates import RedisGates
from django_obc_ai.backends.coordinators.base import BaseCoordinator
from django_obc_ai.backends.redis_link import RedisLink
from django_obc_ai.exceptions import CoordinatorError


class _NoFlights(BaseCoordinator):
    def board(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError

    publish = land = renew_flight = board


class MemoryGatesOnly(MemoryGates, _NoFlights):
    pass


class DatabaseGatesOnly(DatabaseGates, _NoFlights):
    pass


class RedisGatesOnly(RedisGates, _NoFlights):
    def __init__(self, url: str, prefix: str = "obc-ai:shared") -> None:
        import redis  # only where its tests run

        self._prefix = prefix
        self.link = RedisLink(redis, url=url, timeout_seconds=5, translate=_translated)

    def _run(self, script: str, keys: Sequence[Any], *arguments: Any) -> Any:
        return self.link.run(script, b"%d" % len(keys), *keys, *arguments)

    def close(self) -> None:
        self.link.close()


def _translated(error: Exception) -> CoordinatorError:
    return CoordinatorError(f"{type(error).__name__}: {error}")
