"""Keeping tests off the network: a test that would reach a real service fails."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Collection
from contextlib import ContextDecorator, ExitStack
from typing import Any, Self
from unittest import mock

_LOOPBACK = frozenset({"", "localhost", "localhost.localdomain", "ip6-localhost"})


class NetworkBlockedError(AssertionError):
    """A test tried to reach another machine."""


class block_network(ContextDecorator):  # noqa: N801 - named like override_settings
    """Fail a test that connects to another machine, or asks for its address.

    Loopback addresses and Unix sockets stay open, for servers that the tests start
    themselves. It holds for all threads of the process. Code that catches the error does not
    get away: it is raised again at the end of the block. Connections that C code opens
    without Python's sockets (gRPC, libpq) are not seen.

    Args:
        allow: Names or addresses of further hosts that may be reached.
    """

    def __init__(self, allow: Collection[str] = ()) -> None:
        """Note what may be reached; nothing changes before the block is entered."""
        self._allowed = frozenset(allow)
        self._stack = ExitStack()
        self.attempts: list[str] = []

    def __enter__(self) -> Self:
        """Guard the sockets."""
        self.attempts = []
        self._stack = ExitStack()
        for name in ("connect", "connect_ex"):
            guarded = self._guarded(getattr(socket.socket, name))
            self._stack.enter_context(mock.patch.object(socket.socket, name, guarded))
        lookup = self._lookup(socket.getaddrinfo)
        self._stack.enter_context(mock.patch.object(socket, "getaddrinfo", lookup))
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Free the sockets, and raise if the test hid an attempt."""
        self._stack.close()
        if self.attempts and not (kind and issubclass(kind, NetworkBlockedError)):
            raise NetworkBlockedError(_message(self.attempts))

    # Any below: addresses and results of the socket module.
    def _guarded(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def connect(sock: socket.socket, address: Any) -> Any:
            if isinstance(address, tuple):  # others are no addresses of machines
                self._check(address[0], address[1])
            return original(sock, address)

        return connect

    def _lookup(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def getaddrinfo(host: Any, port: Any, *arguments: Any, **named: Any) -> Any:
            self._check(host or "", port)
            return original(host, port, *arguments, **named)

        return getaddrinfo

    def _check(self, host: str | bytes, port: Any) -> None:
        name = host.decode() if isinstance(host, bytes) else str(host)
        if name in self._allowed or name.lower() in _LOOPBACK or _is_loopback(name):
            return
        self.attempts.append(f"{name}:{port}")
        raise NetworkBlockedError(_message([f"{name}:{port}"]))


def _is_loopback(name: str) -> bool:
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _message(attempts: Collection[str]) -> str:
    return (
        f"The test tried to reach {', '.join(dict.fromkeys(attempts))}. Let override_ai(script=[…])"
        " answer in its place, or allow the host: block_network(allow=[…])."
    )
