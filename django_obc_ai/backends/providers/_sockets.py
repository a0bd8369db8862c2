"""Reads and writes of blocking HTTP clients, bound to a deadline one by one.

The clients' own timeouts begin anew with every byte that comes, so that an answer whose headers
drip in would hold its caller for as long as the server likes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from django_obc_ai.backends.providers._network import current_deadline


def bind_client(client: Any) -> Any:  # Any here and below: objects of optional packages
    """Bind an httpx or httpx2 client, its proxies included, and return it.

    Inside `Deadline.applied` each wait ends at the deadline. For this the packages have no
    public way; a release that moves these names leaves the waits to the timeouts.
    """
    mounted = getattr(client, "_mounts", None) or {}
    for transport in [getattr(client, "_transport", None), *mounted.values()]:
        pool = getattr(transport, "_pool", None)
        backend = getattr(pool, "_network_backend", None)
        if backend is not None and not isinstance(backend, _Backend):
            pool._network_backend = _Backend(backend)  # type: ignore[union-attr]  # it has one
    return client


class _Backend:
    """Opens connections of httpcore that keep to the deadline."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend

    def connect_tcp(self, *arguments: Any, **named: Any) -> _Stream:
        return _Stream(_limited(self._backend.connect_tcp, *arguments, **named))

    def connect_unix_socket(self, *arguments: Any, **named: Any) -> _Stream:
        return _Stream(_limited(self._backend.connect_unix_socket, *arguments, **named))

    def sleep(self, seconds: float) -> None:
        self._backend.sleep(seconds)


class _Stream:
    """A connection of httpcore whose waits end at the deadline."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        found: bytes = _limited(self._stream.read, max_bytes, timeout=timeout)
        return found

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        _limited(self._stream.write, buffer, timeout=timeout)

    def start_tls(self, *arguments: Any, **named: Any) -> _Stream:
        return _Stream(_limited(self._stream.start_tls, *arguments, **named))

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _limited(wait: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Call what takes a timeout, with no more than is left of the deadline."""
    deadline = current_deadline()
    if deadline is None:
        return wait(*arguments, **named)
    deadline.check()
    timeout = named.get("timeout")
    remaining = deadline.remaining_seconds
    named["timeout"] = remaining if timeout is None else min(timeout, remaining)
    try:
        return wait(*arguments, **named)
    except Exception:
        deadline.check()  # the error is only how the end of the deadline shows
        raise


def make_adapter(requests: Any, guard: Callable[[Any], AbstractContextManager[None]]) -> Any:
    """Return an adapter of requests that waits for each answer's headers inside a guard.

    Args:
        requests: The module of this name.
        guard: Is given the connection's socket; see `Deadline.guarding`.
    """
    adapters: Any = requests.adapters
    pools = {
        scheme: _guarded_pool(pool, guard)
        for scheme, pool in adapters.PoolManager().pool_classes_by_scheme.items()
    }

    class Adapter(adapters.HTTPAdapter):  # type: ignore[misc]  # a base known at run time only
        """Opens guarded connections, through a proxy or not."""

        def init_poolmanager(self, *arguments: Any, **named: Any) -> None:
            super().init_poolmanager(*arguments, **named)
            self.poolmanager.pool_classes_by_scheme = pools

        def proxy_manager_for(self, *arguments: Any, **named: Any) -> Any:
            manager = super().proxy_manager_for(*arguments, **named)
            manager.pool_classes_by_scheme = pools
            return manager

    return Adapter()


def _guarded_pool(pool: Any, guard: Callable[[Any], AbstractContextManager[None]]) -> Any:
    class Connection(pool.ConnectionCls):  # type: ignore[misc]  # as above
        """A connection of urllib3 that waits for headers inside the guard."""

        @functools.wraps(pool.ConnectionCls.getresponse)
        def getresponse(self, *arguments: Any, **named: Any) -> Any:
            with guard(self.sock):
                return super().getresponse(*arguments, **named)

    return type(pool.__name__, (pool,), {"ConnectionCls": Connection})
