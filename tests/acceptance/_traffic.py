"""Servers, settings and processes of the proofs about calls that many workers make at once."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
MODEL = "gemini-2.5-flash"
#: Seconds beyond its length that anything may take: other work may share the machine.
DEADLINE = 180.0
NO_BREAKER = {"failures": 1_000_000, "open_seconds": 30}


class Site:
    """One project: its servers, and the settings of all its processes.

    Attributes:
        name: "redis" (with PostgreSQL for the ledger), "postgres" or "sqlite".
    """

    def __init__(self, name: str, stack: ExitStack, *, redis: Any = None) -> None:
        """Start the servers, prepare the database and set up Django in this process.

        Args:
            redis: A running server; None starts one if it is needed.
        """
        self.name, self.stack = name, stack
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        os.environ["OBC_AI_TEST_BASE_DIR"] = str(self.folder)  # rows may wait on disk
        from tests.servers.new_database import use_database

        database = "sqlite" if name == "sqlite" else "postgres"
        use_database(database, self.folder, stack, max_connections="400")
        from tests.servers.gemini import run_gemini_process
        from tests.servers.valkey import run_redis

        self.gemini = stack.enter_context(run_gemini_process())
        self.redis = redis
        if name == "redis" and redis is None:
            self.redis = stack.enter_context(run_redis())
        for command in (["migrate", "--verbosity", "0"], ["createcachetable", "answers"]):
            subprocess.run(
                [sys.executable, "-m", "django", *command], check=True, cwd=ROOT, timeout=DEADLINE
            )
        import django

        django.setup()
        from django.conf import settings

        for key, value in self.settings().items():
            setattr(settings, key, value)

    def settings(self, **changed: Any) -> dict[str, Any]:
        """Return OBC_AI and CACHES; a coordinator is not named, it follows the cost store."""
        stores, caches = "django_obc_ai.backends.cost_stores", "django.core.cache.backends"
        if self.name == "redis":
            store = {"BACKEND": f"{stores}.redis.RedisCostStore"}
            store["OPTIONS"] = {"url": self.redis.url, "lease_seconds": 2.0}  # type: ignore[assignment]
            cache = {"BACKEND": f"{caches}.redis.RedisCache", "LOCATION": self.redis.url}
        else:
            store = {"BACKEND": f"{stores}.database.DatabaseCostStore"}
            cache = {"BACKEND": f"{caches}.locmem.LocMemCache"}
            if self.name == "postgres":
                cache = {"BACKEND": f"{caches}.db.DatabaseCache", "LOCATION": "answers"}
        provider = {
            "BACKEND": "django_obc_ai.backends.providers.google_genai.GoogleGenAIProvider",
            "OPTIONS": {
                "api_key": self.gemini.key, "model": MODEL, "base_url": self.gemini.url,
            },
        }  # fmt: skip
        obc_ai = {
            "PROVIDERS": {"default": provider},
            "COST_STORES": {"default": store},
            "RATE_LIMITS": {"default": None},
            "BREAKER": NO_BREAKER,
            "CACHE": {"alias": "default"},
            **changed,
        }
        return {"OBC_AI": obc_ai, "CACHES": {"default": cache}}


class Crew:
    """Worker processes that make calls as they are told."""

    #: What each of them runs.
    script = "_traffic_worker.py"

    def __init__(self, site: Site, count: int, *, scale: dict[str, float], **changed: Any) -> None:
        self.site, self.count = site, count
        self.facts = {"settings": site.settings(**changed), "scale": scale}
        self.processes: list[subprocess.Popen[str]] = []
        self.answers: list[queue.Queue[Any]] = []
        site.stack.callback(self.end)
        for number in range(count):
            self.start(number)
        self.wait(range(count))

    def start(self, number: int) -> None:
        """Start a process, or another in its place; its first answer is that it is ready."""
        script = str(ROOT / "tests/acceptance" / self.script)
        with (self.site.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, script, json.dumps(self.facts)],
                cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )  # fmt: skip
        answers: queue.Queue[Any] = queue.Queue()
        assert process.stdout is not None
        source = process.stdout

        def read() -> None:
            for line in source:
                answers.put(json.loads(line))
            answers.put(EOFError)

        threading.Thread(target=read, daemon=True).start()
        self.processes[number : number + 1] = [process]
        self.answers[number : number + 1] = [answers]

    def kill(self, number: int) -> float:
        """Kill a process at once and return when."""
        self.processes[number].send_signal(signal.SIGKILL)
        at = time.monotonic()
        self.processes[number].wait(DEADLINE)
        return at

    def order(self, number: int, do: str, **order: Any) -> None:
        """Tell a process what to do; wait() returns what it says."""
        source = self.processes[number].stdin
        assert source is not None
        source.write(json.dumps({"do": do, **order}) + "\n")
        source.flush()

    def wait(self, numbers: Sequence[int], seconds: float = 0.0) -> list[Any]:
        """Return the next answer of each, a list.

        Raises:
            SystemExit: One ended, or none came for `DEADLINE` seconds more than given.
        """
        end, found = time.monotonic() + seconds + DEADLINE, []
        for number in numbers:
            try:
                answer = self.answers[number].get(timeout=max(0.1, end - time.monotonic()))
            except queue.Empty:
                self.processes[number].send_signal(signal.SIGUSR1)  # its frames go into the log
                time.sleep(1)
                answer = EOFError
            if answer is EOFError:
                log = (self.site.folder / "log").read_text(encoding="utf-8", errors="replace")
                raise SystemExit(f"{log[-20_000:]}\n{self.site.name}: process {number} is silent.")
            found.append(answer)
        return found

    def all(self, do: str, *, seconds: float = 0.0, **order: Any) -> list[Any]:
        """Tell all the same and return their answers; lists are joined."""
        for number in range(self.count):
            self.order(number, do, **order)
        answers = self.wait(range(self.count), seconds)
        return [each for answer in answers if answer for each in answer]

    def configure(self, **changed: Any) -> None:
        """Change OBC_AI of all."""
        self.all("configure", **self.site.settings(**changed))

    def end(self, seconds: float = 20.0) -> None:
        """Let them end in good order, and kill those that do not."""
        for each in self.processes:
            if each.stdin is not None:
                with suppress(BrokenPipeError):
                    each.stdin.close()
        end = time.monotonic() + seconds
        for each in self.processes:
            try:
                each.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                each.kill()
                each.wait(DEADLINE)


def each_by_itself(script: str, names: Sequence[str], *, is_small: bool) -> list[str]:
    """Run a script with --only for each, since Django is set up once per process.

    Raises:
        SystemExit: One failed, after all have run; what they wrote has been printed.
    """
    found, failed = [], []
    for name in names:
        with tempfile.NamedTemporaryFile() as part:
            command = [sys.executable, script, "--only", name, "--out", part.name]
            if subprocess.run([*command, *(["--small"] if is_small else [])]).returncode:
                failed.append(name)
            found.append(Path(part.name).read_text(encoding="utf-8"))
            print(found[-1], flush=True)
    if failed:
        raise SystemExit(f"Failed: {', '.join(failed)}.")
    return found


def foreign(notes: Sequence[dict[str, Any]]) -> list[str]:
    """Return the errors that are not ours, and those of ours that should not have been raised."""
    return [note["raised"] or note.get("exception", "") for note in notes if not note["is_ours"]]


def percentile(values: Sequence[float], percent: float) -> float:
    """Return one of the values."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(len(ranked) * percent / 100))]
