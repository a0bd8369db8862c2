"""How uvicorn serves the streams: ``python -P -m deploy.streams``.

OBC_SITE_VAR              the installation folder; the socket is run/streams.sock in it
OBC_SITE_STREAM_WORKERS   processes, 2 or more; default: one for each core
OBC_SITE_LONGEST_ANSWER   seconds that the longest answer may take; default: 180

A stream keeps no thread and no connection to the database while it waits for the provider. Signal
HUP replaces the processes one by one, with the code behind `current`; each tells its streams to
their ends first.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path


def workers() -> int:
    """Return how many processes there shall be; one alone could not be replaced without a gap."""
    return max(2, int(os.environ.get("OBC_SITE_STREAM_WORKERS") or os.cpu_count() or 1))


def free_socket(path: Path) -> None:
    """Remove a socket that a killed process has left; uvicorn would refuse to start.

    Raises:
        SystemExit: Somebody listens at it.
    """
    if not path.exists():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink(missing_ok=True)
            return
    raise SystemExit(f"Another process serves the streams at {path} already: end it first.")


def end_with_parent() -> None:
    """End this process when the one that started it is gone, killed for example."""
    parent = os.getppid()

    def wait() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def main() -> None:
    """Serve until a signal ends it."""
    import uvicorn

    home = Path(os.environ["OBC_SITE_VAR"])
    path = home / "run" / "streams.sock"
    free_socket(path)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "deploy.settings")
    # Uvicorn lets everybody open the socket: who may, the folder that it lies in says.
    uvicorn.run(
        "deploy.asgi:application",
        uds=str(path),
        workers=workers(),
        lifespan="off",  # Django has none
        access_log=False,  # it holds query strings; the proxy's does not
        proxy_headers=True,
        forwarded_allow_ips="*",  # whoever can open the socket, as gunicorn has it
        limit_max_requests=20_000,
        limit_max_requests_jitter=5_000,
        # Also how long a new process may take to import the site.
        timeout_worker_healthcheck=60,
        timeout_graceful_shutdown=int(os.environ.get("OBC_SITE_LONGEST_ANSWER", "180")),
    )
    with suppress(OSError):
        path.unlink()


if __name__ == "__main__":
    sys.exit(main())
if __name__ == "__mp_main__":  # a process that uvicorn has started
    end_with_parent()
