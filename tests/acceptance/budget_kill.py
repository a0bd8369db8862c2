"""Spend against a budget that is far too small, while everything that can die does.

Eight processes ask the loopback Gemini server as fast as they can. Meanwhile processes are killed
with SIGKILL at random moments and replaced, stopped with SIGSTOP for longer than a lease, Redis is
killed and restarted empty, and a backend of PostgreSQL is killed, which restarts the whole server.
All the while settled + held is compared with the limit, and so is what the server says it has
billed. At the end every answered call's cost is compared with the server's bill for that very
request, and the bill with what is settled, ceilings of unknown calls included.

A process that is killed and a Redis that is lost within the same lease are apart here: what that
process held stood in Redis alone.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
WORKERS, LEASE, KEY = 8, 2.0, "global:total:always"
#: Nano-dollars per token of gemini-2.5-flash, written down apart from the package's table.
INPUT, OUTPUT = 300, 2_500
STORES = {
    "redis": "redis.RedisCostStore",
    "postgres": "database.DatabaseCostStore",
    "sqlite": "database.DatabaseCostStore",
}


class Trial:
    """One store under attack."""

    def __init__(self, name: str, stack: ExitStack, *, seconds: float, limit: int, seed: int):
        self.name, self.stack, self.seconds, self.limit = name, stack, seconds, limit
        self.chance = random.Random(seed)
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        self.workers: list[subprocess.Popen[bytes]] = []
        self.stopped: dict[int, float] = {}
        self.count = {"killed": 0, "stopped": 0, "restarts": 0, "samples": 0, "unanswered": 0}
        self.most = self.most_billed = 0

    def prepare(self) -> None:
        os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
        os.environ["OBC_AI_TEST_SQLITE"] = str(self.folder / "kill.sqlite3")
        if self.name != "sqlite":
            import psycopg

            from tests.servers.postgres import run_postgres

            self.postgres = self.stack.enter_context(run_postgres())
            with psycopg.connect(self.postgres.dsn, autocommit=True) as admin:
                admin.execute("CREATE DATABASE test")
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
        }
        command = [sys.executable, "-m", "django", "migrate", "--verbosity", "0"]
        subprocess.run(command, check=True, cwd=ROOT)
        import django
        from django.conf import settings

        django.setup()
        settings.OBC_AI = self.obc_ai

    def start(self, number: int) -> subprocess.Popen[bytes]:
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
        billed = self.gemini.billed().get("gemini-2.5-flash")
        bill = 0 if billed is None else billed.prompt * INPUT + billed.candidates * OUTPUT
        self.most_billed = max(self.most_billed, bill)
        if bill > self.limit:
            raise SystemExit(f"{self.name}: the server billed {bill} nano of {self.limit}.")

    def strike(self) -> None:
        """Kill or stop a random process that runs."""
        running = [n for n in range(WORKERS) if n not in self.stopped]
        if not running:
            return
        number = self.chance.choice(running)
        if self.chance.random() < 0.6:
            self.workers[number].kill()
            self.workers[number].wait()
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

    def watch(self, seconds: float, *, strikes: bool = False, restarts: int = 0) -> None:
        began = time.monotonic()
        next_strike, next_bill, done = began + 1, began, 0
        while (passed := time.monotonic() - began) < seconds:
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

    def run(self) -> str:
        self.prepare()
        self.sample()
        self.workers = [self.start(number) for number in range(WORKERS)]
        for _ in range(200):  # until the first of them asks
            self.watch(0.2)
            if self.most:
                break
        together = self.name != "redis"
        self.watch(self.seconds * 0.5, strikes=True, restarts=2 if together else 0)
        self.wake(everyone=True)
        self.watch(LEASE + 2)
        if not together:
            self.watch(self.seconds * 0.3 + LEASE, restarts=1)
        self.watch(self.seconds * 0.3, strikes=True)
        self.wake(everyone=True)
        self.watch(2)
        (self.folder / "stop").touch()
        for each in self.workers:
            each.wait(60)
        return self.compare()

    def compare(self) -> str:
        from django_obc_ai.backends.cost_stores import cost_stores
        from django_obc_ai.gateway import recovery
        from django_obc_ai.gateway.cache import digest
        from django_obc_ai.models import AIOperation
        from django_obc_ai.types import nano_from_usd

        time.sleep(LEASE + 0.5)
        recovery.sweep()
        self.sample()
        self.sample_bill()
        bills, bill = {}, 0
        for entry in self.gemini.journal:
            cost = entry.billed.prompt * INPUT + entry.billed.candidates * OUTPUT
            prompt = entry.body["contents"][-1]["parts"][-1]["text"]
            bills[digest("prompt", ["", prompt])] = cost
            bill += cost
        answered = list(AIOperation.objects.filter(success=True))
        wrong = [
            each for each in answered if nano_from_usd(each.cost_usd) != bills[each.prompt_hash]
        ]
        if wrong or not answered:
            raise SystemExit(f"{self.name}: {len(wrong)} of {len(answered)} costs are no bill.")
        totals = cost_stores["default"].totals([KEY])[KEY]
        ledger = nano_from_usd(AIOperation.objects.total_cost())
        unknown = AIOperation.objects.filter(cost_known=False)
        ceilings = sum(nano_from_usd(row.cost_usd) for row in unknown)
        if bill > totals.spent_nano or bill > ledger or totals.held_nano:
            raise SystemExit(f"{self.name}: billed {bill}, ledger {ledger}, store {totals}.")
        refused = AIOperation.objects.filter(error_category="budget_exceeded").count()
        if not refused:
            raise SystemExit(f"{self.name}: the budget was not too small.")
        if self.name == "redis":
            self.redis.__exit__(None, None, None)
        usd = lambda nano: f"${nano / 1e9:.6f}"  # noqa: E731
        c = self.count
        return (
            f"| {self.name} | {usd(self.limit)} | {usd(self.most)} | {usd(bill)} |"
            f" {usd(totals.spent_nano)} | {usd(ledger)} | {usd(ceilings)} in {unknown.count()} |"
            f" {len(answered)} | {refused} | {c['killed']} | {c['stopped']} | {c['restarts']} |"
            f" {c['samples']} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", required=True)
    parser.add_argument("--seed", type=int, default=20261125)
    parser.add_argument("--only", choices=tuple(STORES))
    options = parser.parse_args()
    seconds, limit = (5, 2_500_000) if options.small else (60, 20_000_000)
    if options.only:
        with ExitStack() as stack:
            trial = Trial(options.only, stack, seconds=seconds, limit=limit, seed=options.seed)
            try:
                row = trial.run()
            finally:
                for each in trial.workers:
                    each.kill()
        Path(options.out).write_text(row, encoding="utf-8")
        return
    rows = []
    for name in STORES:
        with tempfile.NamedTemporaryFile() as part:
            # A process of its own for each store: Django is set up once per process.
            command = [sys.executable, __file__, "--only", name, "--out", part.name]
            command += ["--seed", str(options.seed), *(["--small"] if options.small else [])]
            if subprocess.run(command, check=False).returncode:
                raise SystemExit(1)
            rows.append(Path(part.name).read_text(encoding="utf-8"))
            print(rows[-1], flush=True)
    facts = (
        f"Python {platform.python_version()}, {os.cpu_count()} cores, {WORKERS} processes, leases"
        f" of {LEASE:.0f} s. Command: `./tests/acceptance/run.sh budget_kill`"
    )
    columns = (
        "| store | limit | most settled + held | billed | settled | ledger | unknown ceilings |"
        " answered, each equal to its bill | refused | killed | stopped | servers restarted |"
        " samples |"
    )
    head = ["# A budget under attack", "", (__doc__ or "").strip(), "", facts, "", columns]
    head.append("|---" * 13 + "|")
    Path(options.out).write_text("\n".join([*head, *rows, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
