"""Rollbacks, raising callers, SIGKILL and a database that crashes: no dollar is lost.

Workers call Gemini's SDK against the loopback server, which decides by itself what it bills. Each
call is made in one of these ways, by chance: without a transaction, inside one that commits, inside
one that raises, inside a savepoint that is rolled back, and with autocommit off and a rollback.
Meanwhile workers are killed with SIGKILL at random moments and replaced. PostgreSQL loses a backend
to SIGKILL, which makes it end all connections and recover, and cannot be reached for a while.

Afterwards `ai_drain_spool` runs three times at once. Then:

1. every call that a worker saw answered has its row, with exactly the cost that the worker saw;
2. what the server billed is at most the known costs plus the ceilings of the killed calls;
3. after `reconcile` with the server's bill, ledger and bill are equal to the nano-dollar.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

WAYS = ("plain", "commit", "raise", "savepoint", "manual")
MODEL = "gemini-2.5-flash"


class Planned(Exception):
    """What rolls a worker's transaction back."""


def work(number: int, calls: int, url: str) -> None:
    """Make calls in all ways and print what was answered: one worker process."""
    import django

    django.setup()
    from django.db import Error, connection, transaction
    from django.test import override_settings

    from django_obc_ai.services.text import TextService
    from tests.testapp.models import Place

    chance = random.Random(number)

    def ask() -> None:
        prompt = f"Question {number} {chance.random()}" + " and more" * chance.randrange(40)
        result = TextService().generate_text(prompt, use_cache=False, max_output_tokens=2_000)
        if result.success:
            print(result.operation_id, f"{result.cost:f}", flush=True)

    def in_a_way(way: str) -> None:
        if way == "plain":
            ask()
        elif way == "manual":
            transaction.set_autocommit(False)
            try:
                Place.objects.create(name="gone", province="Sulu")
                ask()
                transaction.rollback()
            finally:
                transaction.set_autocommit(True)
        else:
            with transaction.atomic():
                Place.objects.create(name="x", province="Sulu")
                with suppress(Planned), transaction.atomic():
                    ask()
                    if way == "savepoint":
                        raise Planned
                if way == "raise":
                    raise Planned

    with override_settings(OBC_AI=ai_settings(url)):
        for _ in range(calls):
            try:
                in_a_way(chance.choice(WAYS))
            except (Planned, Error):
                with suppress(Error):
                    connection.close()
    connection.close()


def ai_settings(url: str) -> dict[str, Any]:
    provider = "django_obc_ai.backends.providers.google_genai.GoogleGenAIProvider"
    options = {"api_key": "loopback-key", "model": MODEL, "base_url": url}
    return {
        "PROVIDERS": {"default": {"BACKEND": provider, "OPTIONS": options}},
        "CACHE": {"alias": None},
        "RATE_LIMITS": {"default": None},
    }


class Workers:
    """Worker processes, what they saw answered, and their violent ends."""

    def __init__(self, calls: int, url: str) -> None:
        self.calls, self.url = calls, url
        self.answered: dict[str, Decimal] = {}
        self.running: list[subprocess.Popen[str]] = []
        self.readers: list[threading.Thread] = []
        self.number = self.killed = 0

    def start(self) -> None:
        self.number += 1
        command = [sys.executable, __file__, "--worker", str(self.number), self.url]
        process = subprocess.Popen(
            [*command, "--calls", str(self.calls)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.running.append(process)
        reader = threading.Thread(target=self._read, args=[process])
        reader.start()
        self.readers.append(reader)

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if line.endswith("\n") and line.count(" ") == 1:
                name, _, cost = line.strip().partition(" ")
                self.answered[name] = Decimal(cost)

    def kill(self, chance: random.Random) -> None:
        alive = [process for process in self.running if process.poll() is None]
        if alive:
            victim = chance.choice(alive)
            victim.send_signal(signal.SIGKILL)
            victim.wait()
            self.killed += 1
            self.start()

    def finish(self) -> None:
        for process in self.running:
            process.wait()
        for reader in self.readers:
            reader.join()
        failed = [p.returncode for p in self.running if p.returncode not in (0, -signal.SIGKILL)]
        if failed:
            raise SystemExit(f"Workers ended with {failed}.")


def disturb(server: Any) -> None:
    """Make PostgreSQL crash and recover, and then be out of reach for a moment."""
    import psycopg

    with suppress(psycopg.Error), psycopg.connect(server.dsn, autocommit=True) as admin:
        (pid,) = admin.execute("SELECT pg_backend_pid()").fetchone() or (0,)
        os.kill(pid, signal.SIGKILL)
    socket = Path(server.host) / ".s.PGSQL.5432"
    time.sleep(0.3)
    socket.rename(socket.with_suffix(".away"))
    time.sleep(0.4)
    socket.with_suffix(".away").rename(socket)


def run(database: str, kills: int, calls: int, seed: int) -> list[str]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
        os.environ["OBC_AI_TEST_SQLITE"] = str(folder / "ledger.sqlite3")
        os.environ["OBC_AI_TEST_BASE_DIR"] = str(folder)
        server = None
        if database == "postgres":
            import psycopg

            from tests.servers.postgres import run_postgres

            server = stack.enter_context(run_postgres())
            with psycopg.connect(server.dsn, autocommit=True) as admin:
                admin.execute("CREATE DATABASE test")
                # The tests' server does not wait for its log; a crash would lose what it confirmed.
                admin.execute("ALTER DATABASE test SET synchronous_commit = on")
            os.environ["OBC_AI_TEST_DATABASE"] = "postgres"
            os.environ["OBC_AI_TEST_POSTGRES_HOST"] = server.host
        import django

        django.setup()
        from django.core.management import call_command
        from django.db import connection

        from tests.servers.gemini import run_gemini_process

        call_command("migrate", "--run-syncdb", verbosity=0)
        connection.close()
        gemini = stack.enter_context(run_gemini_process())
        chance = random.Random(seed)
        workers = Workers(calls, gemini.url)
        for _ in range(3):
            workers.start()
        while workers.killed < kills:
            time.sleep(chance.uniform(0.8, 2.2))
            before = workers.killed
            workers.kill(chance)
            if workers.killed == before:
                break
            if server is not None and workers.killed % 3 == 0:
                disturb(server)
        workers.finish()
        waiting = len(list((folder / "var" / "obc_ai_spool").glob("*.json")))
        drains = [
            subprocess.Popen(
                [sys.executable, "-m", "django", "ai_drain_spool"], stdout=subprocess.DEVNULL
            )
            for _ in range(3)
        ]
        if any(drain.wait() for drain in drains):
            raise SystemExit("ai_drain_spool failed.")
        lines = judge(database, workers, gemini, waiting)
        connection.close()
        return lines


def judge(database: str, workers: Workers, gemini: Any, waiting: int) -> list[str]:
    """Compare what workers saw, the ledger and the server's bill; exit if a claim is wrong."""
    from django_obc_ai.models import AIOperation
    from django_obc_ai.querysets import current_day
    from django_obc_ai.services.reconciliation import BilledRow, reconcile
    from django_obc_ai.types import usd_from_nano

    bill = usd_from_nano(
        sum(
            (t.prompt - t.cached + t.tool) * 300
            + t.cached * 30
            + (t.candidates + t.thoughts) * 2_500
            for t in (entry.billed for entry in gemini.journal)
        )
    )  # fmt: skip
    stored = {str(row.pk): row for row in AIOperation.objects.all()}
    missing = [name for name in workers.answered if name not in stored]
    wrong = [
        name
        for name, cost in workers.answered.items()
        if name in stored and (stored[name].cost_usd, stored[name].cost_known) != (cost, True)
    ]
    unknown = AIOperation.objects.filter(cost_known=False)
    ceilings, ledger = unknown.total_cost(), AIOperation.objects.all().total_cost()
    count = unknown.count()
    day = current_day()
    first = day - datetime.timedelta(days=1)
    export = [BilledRow(day=day, model=MODEL, cost_usd=bill)]
    found = reconcile(first, day, bill=export, repair=True, made_by="acceptance")
    after = AIOperation.objects.all().total_cost()
    if missing or wrong or bill > ledger or after != bill or not found.is_balanced():
        raise SystemExit(
            f"{database}: {len(missing)} rows missing, {len(wrong)} wrong; bill {bill}, ledger"
            f" {ledger}, after reconciling {after}."
        )
    cells = [
        database, workers.number, workers.killed, len(workers.answered), len(missing), waiting,
        count, f"${ceilings:f}", f"${bill:f}", f"${ledger:f}", f"${after - bill:f}",
    ]  # fmt: skip
    return ["| " + " | ".join(map(str, cells)) + " |"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out")
    parser.add_argument("--seed", type=int, default=20261125)
    parser.add_argument("--only", choices=("sqlite", "postgres"))
    parser.add_argument("--worker", nargs=2)
    parser.add_argument("--calls", type=int)
    options = parser.parse_args()
    if options.worker:
        work(int(options.worker[0]), options.calls, options.worker[1])
        return
    kills, calls = (4, 60) if options.small else (40, 200)
    if options.only:
        part = run(options.only, kills, calls, options.seed)
        Path(options.out).write_text("\n".join(part), encoding="utf-8")
        return
    machine = (
        f"Python {platform.python_version()}, {os.cpu_count()} cores, seed {options.seed}."
        " Command: `./tests/acceptance/run.sh ledger_survives`"
    )
    columns = [
        "database", "workers", "killed", "answers seen", "rows missing", "waited on disk",
        "killed in flight", "their ceilings", "billed", "ledger before",
        "ledger - bill after reconciling",
    ]  # fmt: skip
    parts = [
        "# The ledger survives",
        "",
        (__doc__ or "").strip(),
        "",
        machine,
        "",
        "| " + " | ".join(columns) + " |",
        "|" + "---|" * len(columns),
    ]
    for database in ("sqlite", "postgres"):
        with tempfile.NamedTemporaryFile() as part_file:
            # A process of its own for each database: Django is set up once per process.
            command = [sys.executable, __file__, "--only", database, "--out", part_file.name]
            command += ["--seed", str(options.seed), *(["--small"] if options.small else [])]
            if subprocess.run(command, check=False).returncode:
                raise SystemExit(1)
            parts.append(Path(part_file.name).read_text(encoding="utf-8"))
    Path(options.out).write_text("\n".join([*parts, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
