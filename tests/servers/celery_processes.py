"""Real Celery workers and beats, as processes that tests kill.

    with run_redis() as redis, run_worker(redis.url, concurrency=2) as worker:
        runner.enqueue("recover_jobs")
        worker.kill_child()             # as the kernel does when memory is short
        worker.kill()                   # the main process alone; what it started may work on
        worker.kill_all()               # as a power cut
        with run_worker(redis.url): ... # the next one

Both run `tests.celery_project`, whose settings are those of the tests: its database is the one of
the test. They are ready when the context is entered, and gone when it is left, however they ended.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.servers.launch import ServerFailed, Supervised, make_folder, start

END_SECONDS = 60


@dataclass(kw_only=True, slots=True)
class CeleryProcess:
    """A worker or a beat.

    Attributes:
        log: What it logs.
    """

    log: Path
    supervised: Supervised

    @property
    def pid(self) -> int:
        """Of the main process."""
        return self.supervised.pid

    def is_running(self) -> bool:
        """Is the main process alive?"""
        return self.supervised.is_running()

    def children(self) -> list[int]:
        """Process ids of the pool, in the order in which they were started; none once it ended."""
        with suppress(OSError):
            text = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
            return [int(each) for each in text.split()]
        return []

    def kill_child(self, number: int = signal.SIGKILL) -> int:
        """Send a signal to the first process of the pool and return its id."""
        (pid, *_) = self.children()
        os.kill(pid, number)
        return pid

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal to the main process and wait until it has ended."""
        os.kill(self.pid, number)
        self.wait()

    def kill_all(self) -> None:
        """End everything at once, without a word to anybody."""
        with suppress(ProcessLookupError):
            os.killpg(self.supervised.process.pid, signal.SIGKILL)
        self.wait()

    def wait(self) -> None:
        """Wait until the main process has ended."""
        self.supervised.process.wait(END_SECONDS)

    def says(self, text: str) -> bool:
        """Has it logged a text?"""
        return self.log.exists() and text in self.log.read_text(errors="replace")


def eventually(claim: Callable[[], Any], seconds: float = 60) -> Any:
    """Return what a claim says as soon as that is true, or what it says in the end."""
    deadline = time.monotonic() + seconds
    while not (found := claim()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


@contextmanager
def run_worker(
    broker: str,
    *,
    concurrency: int = 2,
    pool: str = "prefork",
    options: tuple[str, ...] = (),
    name: str = "worker",
    obc_ai: Mapping[str, Any] | None = None,
    celery: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    log: Path | None = None,
    app: str = "tests.celery_project",
) -> Iterator[CeleryProcess]:
    """Run a worker; it is ready to take tasks when the context is entered.

    Args:
        broker: URL.
        concurrency: Processes of the pool.
        pool: "prefork", "threads" or "solo".
        options: Further ones of ``celery worker``.
        name: Of the worker, before the "@" and the host.
        obc_ai: Its ``OBC_AI``, without the task runners: those are Celery, with its own app.
        celery: Its settings of Celery in lower case, such as ``broker_transport_options``.
        environment: Added to this process's own.
        log: Where it logs to, behind what is there; None: a file that is removed in the end.
        app: What is run instead of the tests' own project.
    """
    command = [
        "worker", f"--concurrency={concurrency}", f"--pool={pool}", f"--hostname={name}@%h",
        "--without-gossip", "--without-mingle", *options,
    ]  # fmt: skip
    given = {"OBC_AI": _with_runner(obc_ai), "celery": {"broker_url": broker, **(celery or {})}}
    with _run(app, command, given, environment, log, ready=f"{name}@", says=" ready.") as process:
        yield process


@contextmanager
def run_beat(
    broker: str,
    *,
    schedule: Mapping[str, Any] | None = None,
    obc_ai: Mapping[str, Any] | None = None,
    celery: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    log: Path | None = None,
    app: str = "tests.celery_project",
) -> Iterator[CeleryProcess]:
    """Run a beat; see run_worker().

    Args:
        broker: URL.
        schedule: What `django_obc_ai.tasks.beat_schedule` is called with.
        obc_ai: See run_worker().
        celery: See run_worker().
        environment: See run_worker().
        log: See run_worker().
        app: See run_worker().
    """
    given = {
        "OBC_AI": _with_runner(obc_ai),
        # Beat sleeps for that long before it looks at its schedule again.
        "celery": {"broker_url": broker, "beat_max_loop_interval": 1, **(celery or {})},
        "beat": dict(schedule or {}),
    }
    with _run(app, ["beat"], given, environment, log, ready="beat", says="Starting") as process:
        yield process


def _with_runner(obc_ai: Mapping[str, Any] | None) -> dict[str, Any]:
    runner = "django_obc_ai.backends.task_runners.celery.CeleryRunner"
    return {"TASK_RUNNERS": {"default": {"BACKEND": runner}}, **(obc_ai or {})}


@contextmanager
def _run(
    app: str,
    command: list[str],
    given: Mapping[str, Any],
    environment: Mapping[str, str] | None,
    log: Path | None,
    *,
    ready: str,
    says: str,
) -> Iterator[CeleryProcess]:
    folder = make_folder("obc-celery-")
    handle, own = tempfile.mkstemp(prefix="obc-celery-", suffix=".log")
    os.close(handle)
    path = log or Path(own)
    before = path.stat().st_size if path.exists() else 0

    def answers(_pid: int) -> bool:
        new = path.read_bytes()[before:].decode(errors="replace") if path.exists() else ""
        return any(ready in line and says in line for line in new.splitlines())

    try:
        supervised = start(
            [sys.executable, "-m", "celery", f"--app={app}", *command,
             "--loglevel=INFO", f"--logfile={path}"],
            folder=folder,
            stop_signal=signal.SIGTERM,
            answers=answers,
            environment={
                "DJANGO_SETTINGS_MODULE": "tests.celery_project.settings",
                "OBC_AI_TEST_CELERY_PROJECT": json.dumps(given),
                "PYTHONWARNINGS": "", "PYTHONDEVMODE": "",  # Celery's own are not ours to mend
                **(environment or {}),
            },
        )  # fmt: skip
    except ServerFailed as failure:
        text = path.read_text(errors="replace")[-4000:] if path.exists() else ""
        Path(own).unlink(missing_ok=True)
        raise ServerFailed(f"{failure}\n{text}") from None
    process = CeleryProcess(log=path, supervised=supervised)
    try:
        yield process
    finally:
        supervised.stop()
        with suppress(ProcessLookupError):  # what a killed worker left behind
            os.killpg(supervised.process.pid, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)
        Path(own).unlink(missing_ok=True)
