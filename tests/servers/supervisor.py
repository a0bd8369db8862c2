"""Run one server and end it together with whoever started this script.

    python supervisor.py JSON

JSON: command (list), folder (removed at the end), signal (number that stops the server),
uid and gid (or null). The server's process id is printed. The script ends the server when its
standard input closes, when its parent is gone (SIGKILL included) or when the server ends by
itself. Should this script be killed, Linux ends the server.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    # A shell's background jobs ignore these two, and servers inherit it.
    for stop in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(stop, signal.SIG_DFL)
    with contextlib.suppress(OSError, AttributeError):  # only Linux has prctl
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGQUIT)


def wanted(server: subprocess.Popen[bytes], parent: int) -> Iterator[None]:
    """Yield for as long as the server runs and somebody wants it."""
    while server.poll() is None and os.getppid() == parent:
        readable, _, _ = select.select([sys.stdin], [], [], 0.5)
        if readable and not os.read(sys.stdin.fileno(), 1):
            return
        yield


def main() -> None:
    parent = os.getppid()
    options = json.loads(sys.argv[1])
    folder = Path(options["folder"])
    drop = {"user": options["uid"], "group": options["gid"], "extra_groups": []}
    try:
        with (folder / "log").open("ab") as log:
            server = subprocess.Popen(
                options["command"],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - this process has one thread
                **(drop if options["uid"] is not None else {}),
            )
        print(server.pid, flush=True)
        for _ in wanted(server, parent):
            pass
        if server.poll() is None:
            server.send_signal(options["signal"])
            try:
                server.wait(15)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
