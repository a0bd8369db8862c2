"""A coordinator in Redis, or in any server of its protocol such as Valkey."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, ClassVar

from django_obc_ai.backends.coordinators._redis_flights import RedisFlights
from django_obc_ai.backends.coordinators._redis_gates import RedisGates
from django_obc_ai.backends.coordinators.base import BaseCoordinator
from django_obc_ai.backends.redis_link import RedisLink, ScriptCall
from django_obc_ai.backends.redis_rows import RedisRows
from django_obc_ai.exceptions import CoordinatorError


class RedisCoordinator(RedisFlights, RedisGates, RedisRows, BaseCoordinator):
    """A few short-lived keys that only Lua scripts change, by the server's own clock.

    What a server forgets, in a restart or an eviction, costs a second call at worst.
    """

    extra: ClassVar[str] = "redis"
    sdk_module: ClassVar[str] = "redis"

    def __init__(
        self,
        *,
        url: str = "redis://127.0.0.1:6379/0",
        prefix: str = "obc-ai:shared",
        timeout_seconds: float = 2.0,
    ) -> None:
        """Keep the options; the connection is made at the first use.

        Args:
            url: Of the server, with password and database.
            prefix: Begins the names of all keys; projects that share a server differ in it.
            timeout_seconds: For connecting and for each answer.

        Raises:
            ValueError: The prefix holds a brace, or the time is not above 0.
        """
        if "{" in prefix or "}" in prefix:
            raise ValueError("prefix holds a brace; all keys share one in braces already.")
        if timeout_seconds <= 0:
            raise ValueError("timeout_seconds must be above 0.")
        super().__init__()
        self._url = url
        self._prefix = prefix
        self._timeout = timeout_seconds
        self._links: dict[int, RedisLink] = {}  # by process: a forked child makes its own

    @property
    def server(self) -> str:
        """See `BaseCoordinator.server`."""
        return self._url

    def _link(self) -> RedisLink:
        pid = os.getpid()
        link = self._links.get(pid)
        if link is None:
            made = RedisLink(
                self.import_sdk(),
                url=self._url,
                timeout_seconds=self._timeout,
                translate=_translated,
            )
            link = self._links.setdefault(pid, made)  # of two threads, one comes first
        return link

    def connect(self) -> None:
        """Have a connection at hand; see `RedisLink.connect`."""
        self._link().connect()

    def run_all(self, calls: Sequence[ScriptCall]) -> list[Any]:
        """Run scripts, one after another, in one round trip; see `RedisLink.run_all`.

        Raises:
            CoordinatorError: Redis failed.
        """
        return self._link().run_all(calls)

    def close(self) -> None:
        """Close this process's connections."""
        if (link := self._links.pop(os.getpid(), None)) is not None:
            link.close()


def _translated(error: Exception) -> CoordinatorError:
    # The package's own message names host and port, never the password; still it is chained only.
    return CoordinatorError(
        f"The Redis coordinator could not be asked ({type(error).__name__}). Start Redis, or name"
        " another coordinator in OBC_AI['COORDINATORS']."
    )
