"""The connections of one process to a server of the Redis protocol."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from types import ModuleType
from typing import Any

from django_obc_ai.exceptions import CostStoreError


class RedisLink:
    """Connections of redis-py without its client, whose calls take nearly twice as long."""

    def __init__(
        self, sdk: ModuleType, *, url: str, timeout_seconds: float, attach: Callable[[Any], None]
    ) -> None:
        """Keep the options; connections are made when they are needed.

        Args:
            sdk: The module `redis`.
            url: Of the server, with password and database.
            timeout_seconds: For connecting and for each answer.
            attach: Called with each new connection.
        """
        self._errors = sdk.exceptions
        self._pool = sdk.ConnectionPool.from_url(
            url,
            socket_timeout=timeout_seconds,
            socket_connect_timeout=timeout_seconds,
            retry=sdk.retry.Retry(sdk.backoff.NoBackoff(), 0),
            redis_connect_func=attach,
        )
        self._idle: list[Any] = []

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a script, which the server need not know yet; see ask()."""
        try:
            return self._send((b"EVALSHA", _sha(script), *arguments))
        except self._errors.NoScriptError:
            return self.ask("EVAL", script, *arguments)
        except self._errors.RedisError as error:
            raise _translated(error) from error

    def ask(self, *command: Any) -> Any:
        """Send a command, which may arrive twice, and return the answer.

        Raises:
            CostStoreError: Redis cannot be reached, or refuses.
        """
        try:
            return self._send(command)
        except self._errors.RedisError as error:
            raise _translated(error) from error

    def _send(self, command: Sequence[Any], *, is_second: bool = False) -> Any:
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._pool.make_connection()
        try:
            connection.send_command(*command)
            reply = connection.read_response()
        except self._errors.ResponseError:  # an answer too
            self._idle.append(connection)
            raise
        except (self._errors.ConnectionError, self._errors.TimeoutError):
            connection.disconnect()
            if is_second:
                raise
            # The server may have closed a connection that lay idle, and so all the others.
            self.close()
            return self._send(command, is_second=True)
        except BaseException:  # such as a time limit of the caller: the answer may still come
            connection.disconnect()
            raise
        self._idle.append(connection)
        return reply

    def close(self) -> None:
        """Close the connections that nobody uses."""
        while self._idle:
            self._idle.pop().disconnect()


@lru_cache(maxsize=32)
def _sha(script: str) -> bytes:
    # Redis names scripts so; nothing rests on its strength.
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest().encode()


def _translated(error: Exception) -> CostStoreError:
    # The package's own message names host and port, never the password; still it is chained only.
    return CostStoreError(
        f"The Redis cost store could not be asked ({type(error).__name__}), so nothing may be"
        " sent. Start Redis, or name a stand-in in OBC_AI['MONEY']."
    )
