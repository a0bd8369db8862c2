"""The connections of one process to a server of the Redis protocol."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType
from typing import Any, Generic, TypeAlias, TypeVar

from django_obc_ai.exceptions import ObcAIError

#: A script, then as for EVAL the number of its keys, the keys and the arguments; or a command,
#: whose name is bytes, and its arguments.
ScriptCall: TypeAlias = tuple[Any, ...]
ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class Step(Generic[ResultT]):
    """What a backend does in one script, apart from sending it: so steps can travel together.

    Attributes:
        call: For `RedisLink.run_all`.
        read: Takes the reply, notes what it says in the backend, and returns the step's result
            or raises its error. It may ask the server again.
    """

    call: ScriptCall
    read: Callable[[Any], ResultT]


class ScriptedBackend:
    """For backends that work in steps: those of one server can travel together."""

    @property
    @abstractmethod
    def server(self) -> str:
        """Name the server, by its URL: steps for the same one can travel together."""

    @abstractmethod
    def run_all(self, calls: Sequence[ScriptCall]) -> list[Any]:
        """Run scripts one after another in one round trip; see `RedisLink.run_all`."""

    def run_step(self, step: Step[ResultT]) -> ResultT:
        """Make a step that travels alone."""
        return step.read(self.run_all([step.call])[0])


class RedisLink:
    """Connections of redis-py without its client, whose calls take nearly twice as long."""

    def __init__(
        self,
        sdk: ModuleType,
        *,
        url: str,
        timeout_seconds: float,
        translate: Callable[[Exception], ObcAIError],
        attach: Callable[[Any], None] | None = None,
    ) -> None:
        """Keep the options; connections are made when they are needed.

        Args:
            sdk: The module `redis`.
            url: Of the server, with password and database.
            timeout_seconds: For connecting and for each answer.
            translate: Makes the error to raise of one of redis-py, whose message may name host
                and port.
            attach: Called with each new connection.
        """
        self._errors = sdk.exceptions
        self._translate = translate
        self._pool = sdk.ConnectionPool.from_url(
            url,
            socket_timeout=timeout_seconds,
            socket_connect_timeout=timeout_seconds,
            retry=sdk.retry.Retry(sdk.backoff.NoBackoff(), 0),
            **({} if attach is None else {"redis_connect_func": attach}),
        )
        self._idle: list[Any] = []
        self._known: set[str] = set()  # scripts that the server has, unless it was restarted

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a script, which the server need not know yet; see ask()."""
        return self.run_all([(script, *arguments)])[0]

    def run_all(self, calls: Sequence[ScriptCall]) -> list[Any]:
        """Run scripts in this order in one round trip; others may come between them.

        A script that the server has forgotten, which only ``SCRIPT FLUSH`` makes it do on a living
        connection, runs after the others.

        Returns:
            One reply per call.

        Raises:
            ObcAIError: What `translate` made of the first error. The other calls were made.
        """
        try:
            replies = self._send(lambda: [self._command(*call) for call in calls])
            for at, reply in enumerate(replies):
                if isinstance(reply, self._errors.NoScriptError):
                    again = (b"EVAL", *calls[at])
                    (replies[at],) = self._send(lambda: [again])  # noqa: B023 - sent at once
        except self._errors.RedisError as error:
            raise self._translate(error) from error
        self._known.update(call[0] for call in calls)
        return [self._checked(reply) for reply in replies]

    def ask(self, *command: Any) -> Any:
        """Send a command, which may arrive twice, and return the answer.

        Raises:
            ObcAIError: Redis cannot be reached, or refuses; see `translate`.
        """
        try:
            return self._checked(self._send(lambda: [command])[0])
        except self._errors.RedisError as error:
            raise self._translate(error) from error

    def _command(self, script: str | bytes, *rest: Any) -> Sequence[Any]:
        if isinstance(script, bytes):
            return (script, *rest)
        if script in self._known:
            return (b"EVALSHA", _sha(script), *rest)
        return (b"EVAL", script, *rest)

    def connect(self) -> None:
        """Have a connection, so that the next call takes no longer than its own time.

        Raises:
            ObcAIError: See `translate`.
        """
        if not self._idle:
            self.ask(b"PING")

    def _checked(self, reply: Any) -> Any:
        if isinstance(reply, self._errors.RedisError):
            raise self._translate(reply) from reply
        return reply

    def _send(
        self, make: Callable[[], Sequence[Sequence[Any]]], *, is_second: bool = False
    ) -> list[Any]:
        """Return the replies; errors that the server answered with are among them.

        Args:
            make: Returns the commands, which a new server is told otherwise than a known one.
            is_second: Whether they were sent before.
        """
        try:
            connection = self._idle.pop()
        except IndexError:
            # The pool would count all that it has ever made, and refuse after a hundred.
            connection = self._pool.connection_class(**self._pool.connection_kwargs)
            self._known.clear()  # the server may be another one by now
        commands = make()
        try:
            connection.send_packed_command((_packed(commands),))
            replies = [self._read(connection) for _ in commands]
        except (self._errors.ConnectionError, self._errors.TimeoutError):
            connection.disconnect()
            if is_second:
                raise
            # The server may have closed a connection that lay idle, and so all the others.
            self.close()
            return self._send(make, is_second=True)
        except BaseException:  # such as a time limit of the caller: the answer may still come
            connection.disconnect()
            raise
        self._idle.append(connection)
        return replies

    def _read(self, connection: Any) -> Any:
        try:
            return connection.read_response()
        except self._errors.ResponseError as error:  # an answer too
            return error

    def close(self) -> None:
        """Close the connections that nobody uses."""
        while self._idle:
            self._idle.pop().disconnect()


def _packed(commands: Sequence[Sequence[Any]]) -> bytes:
    """Return commands as they travel, in a fifth of the time that redis-py takes for it."""
    parts: list[bytes] = []
    for command in commands:
        parts.append(b"*%d\r\n" % len(command))
        for each in command:
            value = each if type(each) is bytes else str(each).encode(errors="surrogatepass")
            parts.append(b"$%d\r\n%b\r\n" % (len(value), value))
    return b"".join(parts)


@lru_cache(maxsize=64)
def _sha(script: str) -> bytes:
    # Redis names scripts so; nothing rests on its strength.
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest().encode()
