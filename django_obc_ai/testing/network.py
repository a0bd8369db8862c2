"""Keeping tests off the network: a test that would reach a real service fails."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Callable, Collection
from contextlib import ContextDecorator, ExitStack
from typing import Any, Self
from unittest import mock

_LOOPBACK = frozenset({"", "localhost", "localhost.localdomain", "ip6-localhost"})

#: Where the address stands among the arguments: the first, the last, the fourth.
_SENDING = {"connect": 0, "connect_ex": 0, "sendto": None, "sendmsg": 3}
_LOOKUPS = ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "gethostbyaddr")
_PROXIES = frozenset({"http_proxy", "https_proxy", "all_proxy"})


class NetworkBlockedError(AssertionError):
    """A test tried to reach another machine."""


class block_network(ContextDecorator):  # noqa: N801 - named like override_settings
    """Fail a test that connects or sends to another machine, or asks for its address.

    Loopback addresses and Unix sockets stay open, for servers that the tests start
    themselves. Variables that name a proxy are not there inside the block, so that one on this
    machine is no way out; a proxy that code names by itself is. It holds for all threads of the
    process. Code that catches the error does not get away: it is raised again at the end of
    the block. Connections that C code opens without Python's sockets (gRPC, libpq) are not
    seen.

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
        for name, place in _SENDING.items():
            guarded = self._guarded(getattr(socket.socket, name), place)
            self._stack.enter_context(mock.patch.object(socket.socket, name, guarded))
        for name in _LOOKUPS:
            lookup = self._lookup(getattr(socket, name))
            self._stack.enter_context(mock.patch.object(socket, name, lookup))
        # Not mock.patch.dict(): it would take back what others write into it meanwhile.
        for name in [each for each in os.environ if each.lower() in _PROXIES]:
            self._stack.callback(os.environ.__setitem__, name, os.environ.pop(name))
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Free the sockets, and raise if the test hid an attempt."""
        self._stack.close()
        if self.attempts and not (kind and issubclass(kind, NetworkBlockedError)):
            raise NetworkBlockedError(_message(self.attempts))

    # Any below: addresses and results of the socket module.
    def _guarded(self, original: Callable[..., Any], place: int | None) -> Callable[..., Any]:
        def send(sock: socket.socket, *arguments: Any) -> Any:
            index = len(arguments) - 1 if place is None else place
            address = arguments[index] if index < len(arguments) else None
            if isinstance(address, tuple):  # others are no addresses of machines
                self._check(address[0], address[1])
            return original(sock, *arguments)

        return send

    def _lookup(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def look_up(host: Any, *arguments: Any, **named: Any) -> Any:
            if host != socket.gethostname():  # asked for the Message-ID of every mail
                self._check(host or "", arguments[0] if arguments else named.get("port"))
            return original(host, *arguments, **named)

        return look_up

    def _check(self, host: str | bytes, port: Any) -> None:
        name = host.decode() if isinstance(host, bytes) else str(host)
        if name in self._allowed or name.lower() in _LOOPBACK or _is_loopback(name):
            return
        target = name if port is None else f"{name}:{port}"
        self.attempts.append(target)
        raise NetworkBlockedError(_message([target]))


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
