"""What the SDKs leave to us: one client per process, a total deadline, network errors by kind."""

from __future__ import annotations

import asyncio
import functools
import os
import socket
import sys
import threading
import time
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any, Generic, TypeVar

from django_obc_ai.backends.providers.deadlines import shortened
from django_obc_ai.exceptions import ProviderError, ProviderTimeoutError, TransientError

ValueT = TypeVar("ValueT")


class PerProcess(Generic[ValueT]):
    """One value per process, made at first use; a forked child makes its own.

    A child keeps its parent's value without touching it: closing that would write to
    connections which belong to the parent.
    """

    def __init__(self, make: Callable[[], ValueT]) -> None:
        """Note how to make the value."""
        self._make = make
        self._made: dict[int, ValueT] = {}
        self._lock = threading.Lock()
        _instances.add(self)

    def get(self) -> ValueT:
        """Return this process's value."""
        pid = os.getpid()
        try:
            return self._made[pid]
        except KeyError:
            with self._lock:
                if pid not in self._made:
                    self._made[pid] = self._make()
                return self._made[pid]

    def pop(self) -> ValueT | None:
        """Forget this process's value and return it, if there is one."""
        with self._lock:
            return self._made.pop(os.getpid(), None)

    def renew_lock(self) -> None:
        """Replace a lock that another thread of the parent may have held at the fork."""
        self._lock = threading.Lock()


_instances: weakref.WeakSet[PerProcess[Any]] = weakref.WeakSet()


def _renew_locks() -> None:
    for each in list(_instances):
        each.renew_lock()


os.register_at_fork(after_in_child=_renew_locks)


class DeadlineExceededError(TimeoutError):
    """The total deadline of a call has passed; never leaves a provider."""


class Deadline:
    """A point in time by which a call has ended, however slowly its answer drips in."""

    def __init__(self, seconds: float) -> None:
        """Start counting; the end of the job that a call is for may come before."""
        self._ends_at = time.monotonic() + shortened(seconds)

    @property
    def remaining_seconds(self) -> float:
        """Return what is left, never negative."""
        return max(0.0, self._ends_at - time.monotonic())

    def check(self) -> None:
        """Raise `DeadlineExceededError` if nothing is left."""
        if not self.remaining_seconds:
            raise DeadlineExceededError

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Let `httpx_hooks` bind the requests that are begun inside to this deadline."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    @contextmanager
    def guarding(self, sock: socket.socket | None, wait_seconds: float | None) -> Iterator[None]:
        """Run one blocking read, and cut the connection if the deadline comes first.

        Args:
            sock: What is read from; None if it is not known.
            wait_seconds: The read's own timeout; a watchdog is set only if it is longer
                than what is left.
        """
        remaining = self.remaining_seconds
        needs_watchdog = sock is not None and (wait_seconds is None or wait_seconds > remaining)
        watchdog = threading.Timer(remaining, _cut, [sock]) if needs_watchdog else None
        if watchdog is not None:
            watchdog.daemon = True
            watchdog.start()
        try:
            yield
        except Exception:
            self.check()  # the error is only how a cut connection shows
            raise
        finally:
            if watchdog is not None:
                watchdog.cancel()
        self.check()


@asynccontextmanager
async def within(deadline: Deadline) -> AsyncIterator[None]:
    """End what is awaited inside at the deadline."""
    try:
        async with asyncio.timeout(deadline.remaining_seconds):
            yield
    except TimeoutError:
        raise DeadlineExceededError from None


_current: ContextVar[Deadline | None] = ContextVar("django_obc_ai_deadline", default=None)


def current_deadline() -> Deadline | None:
    """Return the deadline of the request that this thread is sending, if there is one."""
    return _current.get()


def _cut(sock: socket.socket) -> None:
    try:
        # Not sock.shutdown(): that of a TLS socket changes state under the reading thread.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
    except OSError:  # closed meanwhile
        return


def httpx_hooks() -> dict[str, list[Callable[[Any], None]]]:
    """Return event hooks for a synchronous httpx or httpx2 client.

    They bind every request that is sent inside `Deadline.applied` to that deadline:
    connecting and sending by its timeouts, the body read by read. For the headers there is
    no hook: see `_sockets.bind_client`.
    """
    return {"request": [_limit_waits], "response": [_limit_body]}


def _limit_waits(request: Any) -> None:  # Any here and below: objects of an optional package
    deadline = _current.get()
    if deadline is None:
        return
    deadline.check()
    remaining = deadline.remaining_seconds
    waits = request.extensions.get("timeout", {})
    request.extensions["timeout"] = {
        name: min(remaining, waits.get(name) or remaining)
        for name in ("connect", "read", "write", "pool")
    }


def _limit_body(response: Any) -> None:
    deadline = _current.get()
    if deadline is not None:
        package = type(response).__module__.partition(".")[0]
        response.stream = _timed_stream_class(package)(response, deadline)


@functools.cache
def _timed_stream_class(package: str) -> Callable[[Any, Deadline], Any]:
    base: Any = sys.modules[package].SyncByteStream

    class TimedStream(base):  # type: ignore[misc]  # a base that is known at run time only
        """The body of a response, under a deadline."""

        def __init__(self, response: Any, deadline: Deadline) -> None:
            self._stream = response.stream
            self._deadline = deadline
            self._wait: float | None = response.request.extensions["timeout"]["read"]
            connection = response.extensions.get("network_stream")
            self._socket = connection and connection.get_extra_info("socket")

        def __iter__(self) -> Iterator[bytes]:
            source = iter(self._stream)
            while True:
                with self._deadline.guarding(self._socket, self._wait):
                    data = next(source, None)
                if data is None:
                    return
                yield data

        def close(self) -> None:
            self._stream.close()

    return TimedStream


_noted: ContextVar[list[Any] | None] = ContextVar("django_obc_ai_responses", default=None)


@contextmanager
def noting_responses() -> Iterator[list[Any]]:
    """Collect the responses that clients of `make_async_client` get inside.

    An SDK that streams hides its response, and whoever leaves such a stream has to close it:
    the connection would stay open until the garbage collector comes.
    """
    noted: list[Any] = []
    token = _noted.set(noted)
    try:
        yield noted
    finally:
        _noted.reset(token)


def connection_limits(httpx: Any) -> Any:
    """Return no limit of open connections: how many calls may run is for others to say.

    A client's own, a hundred, lets the next streams wait in silence until others have ended.
    """
    return httpx.Limits(max_connections=None, max_keepalive_connections=100)


def make_async_client(httpx: Any, **options: Any) -> Any:
    """Return an async client with one connection pool per event loop, closed with its loop.

    Pooled connections belong to the loop that opened them: a second ``asyncio.run`` could
    not use them, and would leave them open.

    Args:
        httpx: The module httpx2 or httpx, whichever the SDK uses.
        **options: Of its ``AsyncClient``.
    """
    options = {"limits": connection_limits(httpx), **options}

    class PerLoopClient(httpx.AsyncClient):  # type: ignore[misc]  # a base known at run time only
        """Builds requests itself and sends each by the running loop's own client."""

        def __init__(self) -> None:
            super().__init__(**options)
            self._lock = threading.Lock()
            self._of_loops: dict[Any, tuple[Any, AsyncGenerator[None, None]]] = {}

        async def send(self, request: Any, **named: Any) -> Any:
            loop = asyncio.get_running_loop()
            found = self._of_loops.get(loop)
            if found is None:
                inner = httpx.AsyncClient(**options)
                keeper = self._keep(loop, inner)
                with self._lock:
                    for each in [each for each in self._of_loops if each.is_closed()]:
                        del self._of_loops[each]  # a loop that was not shut down in order
                    self._of_loops[loop] = found = (inner, keeper)
                await anext(keeper)
            response = await found[0].send(request, **named)
            noted = _noted.get()
            if noted is not None:
                noted.append(response)
            return response

        async def _keep(self, loop: Any, inner: Any) -> AsyncGenerator[None, None]:
            """Close a loop's client when the loop closes its asynchronous generators."""
            try:
                yield
            finally:
                with self._lock:
                    self._of_loops.pop(loop, None)
                await inner.aclose()

    return PerLoopClient()


_PACKAGES = frozenset({
    "aiohttp", "anyio", "http", "httpcore", "httpcore2", "httpx", "httpx2", "requests", "socket",
    "ssl", "urllib3",
})  # fmt: skip
#: The request was not sent: nobody can have billed it.
_NOT_SENT = frozenset({
    "ClientConnectorError", "ConnectError", "ConnectTimeout", "ConnectTimeoutError",
    "ConnectionRefusedError", "ConnectionTimeoutError", "NameResolutionError",
    "NewConnectionError", "PoolTimeout", "ProxyError", "SSLCertVerificationError", "gaierror",
})  # fmt: skip


def translate_network_error(error: BaseException) -> ProviderError | None:
    """Return our error for one of an HTTP client or socket, None for anything else.

    Known by package and class name, so that no HTTP client has to be imported.
    """
    if isinstance(error, DeadlineExceededError):
        return ProviderTimeoutError(
            "The provider did not answer within deadline_seconds, and may have billed the call."
            " Raise that option, or lower max_output_tokens."
        )
    classes = [each for part in _chain(error) for each in type(part).__mro__]
    package = type(error).__module__.partition(".")[0]
    if not isinstance(error, OSError) and package not in _PACKAGES:
        return None
    names = {each.__name__ for each in classes}
    is_sent = not names & _NOT_SENT
    is_late = any("Timeout" in name for name in names) or "timed out" in str(error).lower()
    # urllib3 makes a refused connection a kind of timeout.
    if is_late and "NewConnectionError" not in names:
        return ProviderTimeoutError(
            "The provider did not answer within timeout_seconds."
            if is_sent
            else "The provider could not be reached within timeout_seconds.",
            is_possibly_billed=is_sent,
        )
    return TransientError(
        f"The connection to the provider failed ({type(error).__name__})."
        + ("" if is_sent else " Nothing was sent. Check base_url and the network."),
        is_possibly_billed=is_sent,
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it wraps: requests hides a refused connection two levels deep."""
    seen: list[BaseException] = []
    waiting: list[Any] = [error]
    while waiting:
        found = waiting.pop()
        if not isinstance(found, BaseException) or found in seen:
            continue
        seen.append(found)
        yield found
        waiting += [getattr(found, "reason", None), *found.args[:1]]
