"""Start a server under its supervisor and stop it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 60  # generous: a loaded machine of two cores


class ServerFailed(RuntimeError):
    """The server ended, or did not answer in time; the message holds its log."""


@dataclass(kw_only=True, slots=True)
class Supervised:
    """A running server.

    Attributes:
        pid: Process id of the server itself, for tests that kill it.
        folder: Its temporary folder, removed by stop().
    """

    pid: int
    folder: Path
    process: subprocess.Popen[str]

    def is_running(self) -> bool:
        return self.process.poll() is None

    def stop(self) -> None:
        """End the server and wait until it is gone. Does nothing the second time."""
        if self.process.stdin and not self.process.stdin.closed:
            self.process.stdin.close()
        self.process.wait(30)
        if self.process.stdout:
            self.process.stdout.close()


def make_folder(prefix: str) -> Path:
    """A temporary folder with a short path: that of a Unix socket must fit into 107 bytes."""
    base = tempfile.gettempdir()
    return Path(tempfile.mkdtemp(prefix=prefix, dir=base if len(base) < 50 else "/tmp"))


def start(
    command: list[str],
    *,
    folder: Path,
    stop_signal: int,
    answers: Callable[[int], bool],
    owner: tuple[int, int] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Supervised:
    """Start `command` and return when `answers(pid)` is true.

    Args:
        command: Program and arguments. Its output goes to `folder / "log"`.
        folder: Working folder of the server, removed when it ends.
        stop_signal: Signal for an orderly end.
        answers: Asked with the server's process id until it says that the server is ready.
        owner: uid and gid to run it as; None: as this process.
        environment: Added to this process's own.

    Raises:
        ServerFailed: It ended or did not become ready.
    """
    uid, gid = owner or (None, None)
    options = {
        "command": command,
        "folder": str(folder),
        "signal": stop_signal,
        "uid": uid,
        "gid": gid,
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("supervisor.py")), json.dumps(options)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for the tests; the supervisor sees them end
        env={**inherited, **(environment or {})},
    )
    assert process.stdout is not None
    first_line = process.stdout.readline()
    server = Supervised(pid=int(first_line or -1), folder=folder, process=process)
    log = ""
    deadline = time.monotonic() + START_SECONDS
    while first_line and server.is_running() and time.monotonic() < deadline:
        if answers(server.pid):
            return server
        if (folder / "log").exists():
            log = (folder / "log").read_text(errors="replace")[-4000:]
        time.sleep(0.02)
    server.stop()
    raise ServerFailed(f"{command[0]} did not start. Its log:\n{log}")
