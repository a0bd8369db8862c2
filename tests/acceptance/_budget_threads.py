"""The memory store under attack: threads of one process ask, and the whole process is stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

from tests.acceptance._budget_trial import LEASE, Trial
from tests.acceptance._budget_worker import ask

#: Stops a process for so many seconds; it cannot wake itself.
_STOP = """
import os, sys, time
pid, seconds = int(sys.argv[1]), float(sys.argv[2])
os.kill(pid, {stop})
time.sleep(seconds)
os.kill(pid, {go})
"""


class _Asker(threading.Thread):
    """What a `Trial` wants to know of a process, of a thread."""

    returncode = 0

    def __init__(self, trial: Trial, number: int) -> None:
        super().__init__(daemon=True)
        self._trial, self._number = trial, number

    def run(self) -> None:
        from django_obc_ai.services.text import TextService

        service, folder = TextService(), self._trial.folder
        while not (folder / "go").exists():
            time.sleep(0.02)
        while not (folder / "stop").exists():
            ask(service, self._number)

    def poll(self) -> int | None:
        return None if self.is_alive() else 0

    def kill(self) -> None:
        """Let it end by itself, with the process."""


class ThreadTrial(Trial):
    """See `Trial`; nothing is killed, since what a memory store holds would be gone with it."""

    strikes = ("stopped",)

    def start(self, number: int) -> Any:
        asker = _Asker(self, number)
        asker.start()
        return asker

    def is_ready(self, number: int) -> bool:
        return True

    def strike(self) -> None:
        script = _STOP.format(stop=int(signal.SIGSTOP), go=int(signal.SIGCONT))
        seconds = LEASE + self.chance.uniform(0.5, 1.5)
        subprocess.run(
            [sys.executable, "-c", script, str(os.getpid()), str(seconds)], check=True, timeout=60
        )
        self.count["stopped"] += 1
