"""Servers and processes of the proofs about jobs: a broker, Celery workers and beat."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from tests.acceptance._traffic import DEADLINE, Crew, Site

LEASE, STORE_LEASE = 3.0, 2.0
#: Seconds after which the broker delivers a task anew that is not done.
VISIBILITY = 5
APP = "tests.acceptance._jobs_app"
RUNNER = "django_obc_ai.backends.task_runners.celery.CeleryRunner"

#: Notes every change of a job's status and of its answer, whoever makes it.
TRIGGER = """
CREATE TABLE seen (
    id bigserial, job uuid, was text, status text, is_answer boolean, owner text,
    at timestamptz DEFAULT clock_timestamp()
);
CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO seen (job, was, status, is_answer, owner) VALUES (
        NEW.id, OLD.status, NEW.status,
        NEW.result IS NOT NULL AND NEW.result IS DISTINCT FROM OLD.result, NEW.owner
    );
    RETURN NEW;
END $$;
CREATE TRIGGER see AFTER UPDATE ON django_obc_ai_job FOR EACH ROW
WHEN (OLD.status <> NEW.status OR OLD.result IS DISTINCT FROM NEW.result)
EXECUTE FUNCTION see();
"""


class JobSite(Site):
    """A project with Celery: PostgreSQL, Redis for money and limits, another one as the broker."""

    def __init__(self, stack: ExitStack, *, window: float = 60.0, **changed: Any) -> None:
        """Start the servers.

        Args:
            stack: Ends all.
            window: Seconds of a minute of the limits.
            changed: Of OBC_AI.
        """
        from tests.servers.valkey import run_redis

        self.changed, self.window = changed, window
        self._run_broker = run_redis
        self._broker = run_redis()
        self.broker = self._broker.__enter__()
        stack.callback(lambda: self._broker.__exit__(None, None, None))
        super().__init__("redis", stack)
        os.environ["OBC_AI_JOBS_FACTS"] = str(self.folder / "facts.json")
        (self.folder / "facts.json").write_text(json.dumps(self.facts()), encoding="utf-8")
        self.app = __import__(APP, fromlist=["app"]).app  # its settings are this process's, too
        from django.db import connection

        with connection.cursor() as cursor:
            cursor.execute(TRIGGER)
        self.processes: list[subprocess.Popen[bytes]] = []
        stack.callback(self.end)

    def settings(self, **changed: Any) -> dict[str, Any]:
        """See Site.settings(); jobs go through Celery."""
        given = {
            "TASK_RUNNERS": {"default": {"BACKEND": RUNNER}},
            "JOBS": {"lease_seconds": LEASE, "slice_seconds": 2, "attempts": 100},
            "BUDGETS": [{"scope": "global", "period": "total", "limit_usd": "1000"}],
            "RETRY": {"attempts": 1},
        }
        return super().settings(**{**given, **self.changed, **changed})

    def facts(self) -> dict[str, Any]:
        """Return what `_jobs_app` is made of."""
        return {
            "settings": self.settings(),
            "window_seconds": self.window,
            "beat_seconds": 1.0,
            "celery": {
                "broker_url": self.broker.url,
                "broker_transport_options": {"visibility_timeout": VISIBILITY},
                "broker_connection_retry_on_startup": True,
                "worker_prefetch_multiplier": 1,
                "beat_max_loop_interval": 1,
                "worker_send_task_events": False,
            },
        }

    def persons(self, count: int) -> list[int]:
        """Make so many users and return their keys."""
        from django.contrib.auth import get_user_model

        create = get_user_model().objects.create_user
        return [create(f"person{number}").pk for number in range(count)]

    def celery(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a program of Celery."""
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", APP, *arguments],
                cwd=self.folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                env={
                    **os.environ, "OBC_AI_JOBS_SERVES": "1",
                    "PYTHONPATH": os.pathsep.join(sys.path),
                },
            )  # fmt: skip
        self.processes.append(process)
        return process

    def start_worker(self, number: int, slots: int) -> subprocess.Popen[bytes]:
        """Start a worker with so many child processes."""
        return self.celery(
            "worker", "--pool", "prefork", "--concurrency", str(slots), "--hostname",
            f"w{number}@%h", "--without-gossip", "--without-mingle", "--loglevel", "INFO",
        )  # fmt: skip

    def start_beat(self) -> subprocess.Popen[bytes]:
        """Start beat; what it remembers survives it."""
        return self.celery(
            "beat", "--schedule", str(self.folder / "beat"), "--pidfile", "", "--loglevel", "INFO",
        )  # fmt: skip

    def stop_broker(self) -> None:
        """Kill the broker; all that it held is gone."""
        os.kill(self.broker.pid, signal.SIGKILL)
        self._broker.__exit__(None, None, None)

    def restart_broker(self) -> None:
        """Start it again, empty, where it was."""
        self._broker = self._run_broker(self.broker.port)
        self.broker = self._broker.__enter__()

    def wait(self, what: str, until: Callable[[], bool], seconds: float = DEADLINE) -> None:
        """Wait until something has happened.

        Raises:
            SystemExit: It has not happened so many seconds later.
        """
        end = time.monotonic() + seconds
        while not until():
            if time.monotonic() > end:
                log = (self.folder / "log").read_text(encoding="utf-8", errors="replace")
                print(log[-20_000:], file=sys.stderr)
                raise SystemExit(f"Waited {seconds:.0f} s for: {what}.")
            time.sleep(0.05)

    def end(self) -> None:
        """End all programs of Celery, in good order where they do."""
        running = [each for each in self.processes if each.poll() is None]
        for each in running:
            for pid in (*children(each.pid), each.pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
            each.terminate()
        for each in running:
            try:
                each.wait(30)
            except subprocess.TimeoutExpired:
                each.kill()
                each.wait(DEADLINE)


class Submitters(Crew):
    """Processes that submit."""

    script = "_jobs_submitter.py"

    def all_ask(self, persons: Sequence[dict[int, int]]) -> list[dict[str, Any]]:
        """Let persons ask at once, spread over the processes: see `Submitter.ask`."""
        shares: list[dict[int, int]] = [{} for _ in range(self.count)]
        for number, each in enumerate(persons):
            shares[number % self.count] |= each
        for number, share in enumerate(shares):
            self.order(number, "ask", persons=share, label="Q")
        return [note for found in self.wait(range(self.count)) for note in found]


def children(pid: int) -> list[int]:
    """Return the child processes; none of a process that is gone."""
    try:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(each) for each in found.split()]


def answer_to(prompt: str) -> str:
    """Return how the loopback server's answer to a prompt begins: it follows from the prompt."""
    return f"Answer {hashlib.sha256(prompt.encode()).hexdigest()[:12]} "


def asked(entry: Any) -> str:
    """Return the prompt of a request in the server's journal; "" if it did not arrive whole."""
    if entry.body is None:
        return ""
    return str(entry.body["contents"][-1]["parts"][-1]["text"])


def changes() -> list[dict[str, Any]]:
    """Return all changes of status or answer of all jobs, in order: see TRIGGER."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT job, was, status, is_answer, owner FROM seen ORDER BY id")
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
