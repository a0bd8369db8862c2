"""Four processes of gunicorn, one ledger: every scrape is the ledger, to the nano-dollar.

Gunicorn serves a project on PostgreSQL with four worker processes. Clients make calls through all
of them at once: answered by the loopback Gemini server at real prices, by the response cache, and
failed, in several modules, on top of two years of earlier operations. While they do, scrapes are
taken, in which no counter may ever fall.
Afterwards each worker is asked until all four have answered, and each answer is compared with sums
that PostgreSQL makes of the rows: operations by outcome, failures by category, tokens by kind,
dollars, breakdowns, and every bucket of the response times. One worker is then killed; the one
that gunicorn starts in its place says the same. So do all after the oldest cost was corrected.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.acceptance._metrics_site import (
    WORKERS,
    Scrape,
    Site,
    falling,
    free_port,
    gunicorn,
    wait_for,
)


def make_calls(site: Site, clients: int, calls: int, seed: int) -> tuple[int, list[str]]:
    """Call through all workers at once and scrape meanwhile; return scrapes and what fell."""
    fell: list[str] = []
    scrapes = 0
    done = threading.Event()

    def client(number: int) -> None:
        chance = random.Random(seed + number)
        for _ in range(calls):
            module = chance.choice(["mana", "general", "policies"])
            fail = "&fail=1" if chance.random() < 0.1 else ""
            site.get(f"/ask?prompt=Question+{chance.randrange(calls * 3)}&module={module}{fail}")

    def watch() -> None:
        nonlocal scrapes
        before: Scrape = {}
        while not done.is_set():
            after, _ = site.scrape()
            fell.extend(falling(before, after))
            before, scrapes = after, scrapes + 1

    watcher = threading.Thread(target=watch)
    threads = [threading.Thread(target=client, args=[number]) for number in range(clients)]
    for thread in [watcher, *threads]:
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    watcher.join()
    return scrapes, fell


def run(clients: int, calls: int, past: int, seed: int) -> dict[str, Any]:
    with ExitStack() as stack:
        import psycopg

        from tests.servers.postgres import run_postgres

        folder = stack.enter_context(tempfile.TemporaryDirectory())
        server = stack.enter_context(run_postgres())
        with psycopg.connect(server.dsn, autocommit=True) as admin:
            admin.execute("CREATE DATABASE test")
        os.environ |= {
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "OBC_AI_TEST_DATABASE": "postgres",
            "OBC_AI_TEST_POSTGRES_HOST": server.host,
            "OBC_AI_TEST_BASE_DIR": folder,
        }
        import django

        django.setup()
        from django.core.management import call_command
        from django.db import connection
        from django.utils import timezone

        from django_obc_ai.models import AIOperation
        from tests.acceptance._metrics_rows import differences, earlier
        from tests.servers.gemini import run_gemini_process

        call_command("migrate", "--run-syncdb", verbosity=0)
        stack.callback(connection.close)
        AIOperation.objects.bulk_create(earlier(past, random.Random(seed)), batch_size=1_000)
        gemini = stack.enter_context(run_gemini_process())
        port = free_port()
        stack.enter_context(gunicorn(port, {"OBC_AI_SCRAPED_GEMINI": gemini.url}))
        site = Site(port)
        wait_for(site)
        call_command("ai_rollup", verbosity=0)
        site.scrape_each(WORKERS)
        scrapes, fell = make_calls(site, clients, calls, seed)
        compared = 0

        def compare(when: str) -> dict[int, Scrape]:
            nonlocal compared
            found = site.scrape_each(WORKERS)
            for worker, each in found.items():
                compared += len(each)
                if wrong := differences(each):
                    raise SystemExit(f"{when}, worker {worker}: " + "; ".join(wrong))
            return found

        if fell:
            raise SystemExit(f"Counters fell: {fell}")
        served = len(site.workers)
        before = compare("After the calls")
        victim = min(before)
        os.kill(victim, signal.SIGKILL)
        _until(lambda: _is_gone(victim))
        again = compare("After a worker was killed")
        if victim in again or len(again) != WORKERS:
            raise SystemExit("The killed worker was not replaced.")
        row = AIOperation.objects.filter(success=True, cached=False).earliest("created_at")
        row.cost_usd, row.recorded_at = row.cost_usd / 2, timezone.now()
        row.save()
        compare("After a correction")
        rows = AIOperation.objects
        return {
            "operations": rows.count(),
            "cached": rows.filter(cached=True).count(),
            "failed": rows.filter(success=False).count(),
            "cost": f"${rows.all().total_cost():f}",
            "workers that served": served,
            "scrapes under load": scrapes,
            "counters that fell": len(fell),
            "figures compared": compared,
            "figures that differ": 0,
        }


def _until(is_so: Callable[[], bool]) -> None:
    for _ in range(300):
        if is_so():
            return
        time.sleep(0.1)
    raise SystemExit("It took too long.")


def _is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", required=True)
    parser.add_argument("--seed", type=int, default=20261128)
    options = parser.parse_args()
    found = run(4, *((25, 2_000) if options.small else (300, 30_000)), options.seed)
    machine = (
        f"Python {platform.python_version()}, {os.cpu_count()} cores, seed {options.seed}."
        " Command: `./tests/acceptance/run.sh metrics_scrape`"
    )
    lines = ["# The scrape of four processes is the ledger", ""]
    lines += [(__doc__ or "").strip(), "", machine]
    lines += ["", "| figure | value |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in found.items()]
    Path(options.out).write_text("\n".join([*lines, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
