"""Ask a process of the site, through its socket, whether it lives; for health checks.

    python live.py web|streams [--home DIR]

Exit codes: 0 it answers health/live/ as it should, 1 it does not, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import http.client
import os
import socket
import sys
from pathlib import Path

SECONDS = 8


class SocketConnection(http.client.HTTPConnection):
    """HTTP through a socket of the file system."""

    def __init__(self, path: Path, host: str) -> None:
        super().__init__(host, timeout=SECONDS)
        self._path = path

    def connect(self) -> None:
        """Open the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def own_host(home: Path) -> str:
    """Return a name that the site answers to: the first of ALLOWED_HOSTS."""
    listed = os.environ.get("ALLOWED_HOSTS", "")
    env = home / ".env"
    if not listed and env.is_file():
        for line in env.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition("=")
            if name.strip() == "ALLOWED_HOSTS":
                listed = value.strip().strip("\"'")
    return listed.split(",")[0].strip().lstrip(".") or "localhost"


def main() -> int:
    """Ask once."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("process", choices=("web", "streams"))
    parser.add_argument("--home", default=os.environ.get("OBC_SITE_VAR", "."))
    options = parser.parse_args()
    home = Path(options.home)
    path = home / "run" / f"{options.process}.sock"
    connection = SocketConnection(path, own_host(home))
    # Uvicorn serves what begins with chat/ behind the proxy; asked itself, it serves all.
    try:
        connection.request("GET", "/api/health/live/", headers={"X-Forwarded-Proto": "https"})
        status = connection.getresponse().status
    except OSError as error:
        print(f"live.py: {options.process} does not answer at {path}: {error}", file=sys.stderr)
        return 1
    if status != 200:
        print(f"live.py: {options.process} answers {status} at {path}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
