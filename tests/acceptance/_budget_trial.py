"""One cost store under attack; see budget_kill.py."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LEASE, KEY = 2.0, "global:total:always"
#: Seconds beyond its length that a phase may take: other work may share the machine.
DEADLINE = 240.0
STORES = {
    "redis": "redis.RedisCostStore",
    "postgres": "database.DatabaseCostStore",
    "sqlite": "database.DatabaseCostStore",
    "memory": "memory.MemoryCostStore",
}


class Trial:
    """One store, and the processes that ask."""

    #: What must have happened twice before the end.
    strikes = ("killed", "stopped")

    def __init__(
        self, name: str, stack: ExitStack, workers: int, seconds: float, limit: int, *, seed: int
    ):
        self.name, self.stack, self.seconds, self.limit = name, stack, seconds, limit
        self.processes, self.key = workers, KEY
        self.chance = random.Random(seed)
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        self.workers: list[Any] = []
        self.stopped: dict[int, float] = {}
        self.count = {"killed": 0, "stopped": 0, "restarts": 0, "samples": 0, "unanswered": 0}
        self.most = self.most_billed = 0

    def prepare(self) -> None:
        os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
        os.environ["OBC_AI_TEST_SQLITE"] = str(self.folder / "kill.sqlite3")
        os.environ["OBC_AI_TEST_BASE_DIR"] = str(self.folder)  # rows may wait on disk
        if self.name in ("redis", "postgres"):
            import psycopg

            from tests.servers.postgres import run_postgres

            self.postgres = self.stack.enter_context(run_postgres())
            with psycopg.connect(self.postgres.dsn, autocommit=True) as admin:
                admin.execute("CREATE DATABASE test")
                # The tests' server may forget its last commits in a crash; a real one does not.
                admin.execute("ALTER DATABASE test SET synchronous_commit = on")
            os.environ["OBC_AI_TEST_DATABASE"] = "postgres"
            os.environ["OBC_AI_TEST_POSTGRES_HOST"] = self.postgres.host
        from tests.servers.gemini import replies, run_gemini_process
        from tests.servers.valkey import run_redis

        self.gemini = self.stack.enter_context(run_gemini_process())
        self.gemini.script(replies.answer("word " * 12, delay_seconds=0.15), is_repeated=True)
        options: dict[str, Any] = {"lease_seconds": LEASE}
        if self.name == "redis":
            self.redis = run_redis()
            server = self.redis.__enter__()
            self.port, self.redis_pid = server.port, server.pid
            options["url"] = server.url
        stores = {
            "default": {
                "BACKEND": f"django_obc_ai.backends.cost_stores.{STORES[self.name]}",
                "OPTIONS": options,
            }
        }
        provider = "django_obc_ai.backends.providers.google_genai.GoogleGenAIProvider"
        self.obc_ai = {
            "PROVIDERS": {
                "default": {
                    "BACKEND": provider,
                    "OPTIONS": {
                        "api_key": self.gemini.key,
                        "model": "gemini-2.5-flash",
                        "base_url": self.gemini.url,
                    },
                }
            },
            "COST_STORES": stores,
            "BUDGETS": [
                {"scope": "global", "period": "total", "limit_usd": f"{self.limit / 1e9:.9f}"},
                {"scope": "module", "period": "total", "limit_usd": f"{self.limit / 1e9:.9f}"},
            ],
            "RETRY": {"attempts": 1},
            "RATE_LIMITS": {"default": None},
        }
        command = [sys.executable, "-m", "django", "migrate", "--verbosity", "0"]
        subprocess.run(command, check=True, cwd=ROOT, timeout=DEADLINE)
        import django
        from django.conf import settings

        django.setup()
        settings.OBC_AI = self.obc_ai

    def start(self, number: int) -> Any:
        script = str(ROOT / "tests/acceptance/_budget_worker.py")
        given = [json.dumps(self.obc_ai), str(number), str(self.folder)]
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, script, *given], cwd=ROOT, stdout=log, stderr=log,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )  # fmt: skip

    def sample(self) -> None:
        from django.db import connections

        from django_obc_ai.backends.cost_stores import cost_stores
        from django_obc_ai.exceptions import CostStoreError

        try:
            found = cost_stores["default"].totals([KEY])[KEY]
        except CostStoreError:
            self.count["unanswered"] += 1
            connections.close_all()
            return
        now = found.spent_nano + found.held_nano
        self.most, self.count["samples"] = max(self.most, now), self.count["samples"] + 1
        if now > self.limit:
            raise SystemExit(f"{self.name}: {now} nano are settled and held of {self.limit}.")

    def sample_bill(self) -> None:
        from tests.acceptance._budget_bills import cost_of

        billed = self.gemini.billed().get("gemini-2.5-flash")
        bill = 0 if billed is None else cost_of(billed)
        self.most_billed = max(self.most_billed, bill)
        if bill > self.limit:
            raise SystemExit(f"{self.name}: the server billed {bill} nano of {self.limit}.")

    def is_ready(self, number: int) -> bool:
        """Return whether a process has imported all and asks: a kill costs something then."""
        return (self.folder / f"ready-{self.workers[number].pid}").exists()

    def strike(self) -> None:
        """Kill or stop a random process that asks."""
        running = [n for n in range(self.processes) if n not in self.stopped and self.is_ready(n)]
        if not running:
            return
        number = self.chance.choice(running)
        if self.chance.random() < 0.6:
            self.workers[number].kill()
            self.workers[number].wait(DEADLINE)
            self.workers[number] = self.start(number)
            self.count["killed"] += 1
        else:
            self.workers[number].send_signal(signal.SIGSTOP)
            self.stopped[number] = time.monotonic() + LEASE + self.chance.uniform(0.5, 1.5)
            self.count["stopped"] += 1

    def wake(self, *, everyone: bool = False) -> None:
        for number, until in list(self.stopped.items()):
            if everyone or time.monotonic() > until:
                self.workers[number].send_signal(signal.SIGCONT)
                del self.stopped[number]

    def restart_server(self) -> None:
        if self.name == "redis":
            from tests.servers.valkey import run_redis

            os.kill(self.redis_pid, signal.SIGKILL)
            self.redis.__exit__(None, None, None)
            self.redis = run_redis(self.port)
            self.redis_pid = self.redis.__enter__().pid
            self.count["restarts"] += 1
        elif self.name == "postgres":
            children = Path(f"/proc/{self.postgres.pid}/task/{self.postgres.pid}/children")
            backends = []
            for pid in children.read_text().split():
                with suppress(OSError):
                    title = Path(f"/proc/{pid}/cmdline").read_bytes()
                    if b"test" in title:
                        backends.append(int(pid))
            if backends:
                os.kill(self.chance.choice(backends), signal.SIGKILL)  # all restart then
                self.count["restarts"] += 1

    def watch(
        self,
        what: str,
        seconds: float = 0.0,
        *,
        until: Callable[[], bool] = lambda: True,
        strikes: bool = False,
        restarts: int = 0,
    ) -> None:
        """Compare again and again, for some seconds and then until something has happened.

        Raises:
            SystemExit: It has not happened DEADLINE seconds later.
        """
        began = time.monotonic()
        next_strike, next_bill, done = began + 0.3, began, 0
        while (passed := time.monotonic() - began) < seconds or not until():
            if passed > seconds + DEADLINE:
                self.give_up(what)
            self.sample()
            if time.monotonic() > next_bill:
                self.sample_bill()
                next_bill = time.monotonic() + 1
            if strikes and time.monotonic() > next_strike:
                self.strike()
                next_strike = time.monotonic() + self.chance.uniform(0.2, 0.8)
            if done < restarts and passed > seconds * (done + 0.5) / (restarts + 1):
                self.restart_server()
                done += 1
            self.wake()
            time.sleep(0.02)
        print(f"{self.name}: {what}: {time.monotonic() - began:.1f} s", file=sys.stderr, flush=True)

    def give_up(self, what: str) -> None:
        """Say what was waited for, and where each process is.

        Raises:
            SystemExit: Always.
        """
        self.wake(everyone=True)
        for each in self.workers:
            if each.poll() is None:
                each.send_signal(signal.SIGUSR1)  # it writes its threads' frames into the log
        time.sleep(1)
        log = (self.folder / "log").read_text(encoding="utf-8", errors="replace")
        raise SystemExit(
            f"{log[-20_000:]}\n{self.name}: waited {DEADLINE:.0f} s for: {what}; {self.count}."
        )

    def has_rows(self, number: int = 1, **wanted: Any) -> bool:
        """Return whether the ledger has so many rows; a database that restarts has none."""
        from django.db import DatabaseError, InterfaceError, connections

        from django_obc_ai.models import AIOperation

        try:
            return AIOperation.objects.filter(**wanted).count() >= number
        except (DatabaseError, InterfaceError):
            connections.close_all()
            return False

    def lose_redis(self) -> None:
        """Restart Redis while calls are under way, and wait until it admits calls again."""
        from django_obc_ai.models import AIOperation

        self.watch("a call before the loss", until=lambda: self.has_rows(success=True))
        self.watch("loss of Redis", 1.0, restarts=1)
        wanted = AIOperation.objects.filter(success=True).count() + self.processes
        self.watch("answers after the loss", until=lambda: self.has_rows(wanted, success=True))
        self.watch("a lease without kills", LEASE + 0.5)

    def run(self) -> str:
        self.prepare()
        self.sample()
        self.workers = [self.start(number) for number in range(self.processes)]
        everyone = range(self.processes)
        self.watch("all processes are ready", until=lambda: all(map(self.is_ready, everyone)))
        (self.folder / "go").touch()
        if self.name == "redis":
            self.lose_redis()
        self.watch(
            "two strikes of each kind, five refusals",
            self.seconds,
            strikes=True,
            restarts=2,
            until=lambda: (
                min(self.count[each] for each in self.strikes) >= 2
                and self.has_rows(5, error_category="budget_exceeded")
            ),
        )
        self.wake(everyone=True)
        self.watch("a lease without strikes", LEASE + 0.5)
        (self.folder / "stop").touch()
        for number, each in enumerate(self.workers):
            if not self.is_ready(number):
                each.kill()  # it has asked nothing yet, and would import all before it ends
        self.watch(
            "the end of all processes",
            until=lambda: all(each.poll() is not None for each in self.workers),
        )
        if failed := [each.returncode for each in self.workers if each.returncode not in (0, -9)]:
            raise SystemExit(f"{self.name}: processes ended with {failed}.")
        time.sleep(LEASE + 0.5)
        from tests.acceptance._budget_bills import compare

        return compare(self)
