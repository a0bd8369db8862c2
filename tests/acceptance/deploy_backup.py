"""Backup, destruction, restore and rollback of the example, rehearsed on SQLite and PostgreSQL.

The example's real places are loaded and indexed. Processes ask for money (Gemini's SDK against the
loopback server) and edit places, while backups are made. Then, with the kit's own scripts:

1. every backup holds each call that was answered before it began, and is restored to a new
   database that is equal to its manifest: rows of each table, ledger to the nano-dollar;
2. a restore is refused while the site runs;
3. the database is destroyed and restored, and equal to what it was;
4. a release with a migration is rolled back: release, tables and ledger are those before;
5. planted faults, and SIGKILL at random moments, end with a message that names the fault, and with
   the present database as it was.
"""

from __future__ import annotations

import argparse
import os
import platform
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from _api_report import Report
from _deploy_faults import kill_in_the_middle, plant_faults

from tests.deploy.kit import EXAMPLE, Kit
from tests.servers.gemini import run_gemini_process
from tests.servers.postgres import PostgresServer, run_postgres

SETTINGS = """
from obc_site.settings import *
OBC_AI = {{**OBC_AI, "RATE_LIMITS": {{"default": None}}}}
DATABASES = {database!r} or DATABASES
"""
IDS = (
    "from django_obc_ai.models import AIOperation;"
    " print(*AIOperation.objects.values_list('id', flat=True))"
)
#: Django makes rows in them for new models, and leaves them when a migration is taken back.
KEPT_BY_DJANGO = ("auth_permission", "django_content_type")


class Writers:
    """Processes that use the site, and what they saw answered."""

    def __init__(self, kit: Kit, count: int) -> None:
        environment = kit.environment()
        path = f"{EXAMPLE}{os.pathsep}{environment['PYTHONPATH']}"
        self.answered: dict[str, int] = {}
        self.processes = [
            subprocess.Popen(
                [sys.executable, Path(__file__).with_name("_deploy_writer.py")],
                env={**environment, "PYTHONPATH": path},
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(count)
        ]
        self.readers = [threading.Thread(target=self._read, args=(p,)) for p in self.processes]
        for reader in self.readers:
            reader.start()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if line.endswith("\n"):
                key, nano = line.split()
                self.answered[key] = int(nano)

    def wait_for(self, more: int) -> None:
        """Wait until so many more calls were answered."""
        wanted = len(self.answered) + more
        while len(self.answered) < wanted:
            assert all(each.poll() is None for each in self.processes), "a writer failed"
            time.sleep(0.05)

    def stop(self) -> None:
        """End them."""
        for process in self.processes:
            process.terminate()
            process.wait()
        for reader in self.readers:
            reader.join()


def dollars(nano: int) -> str:
    return f"${nano / 10**9:.9f}"


@contextmanager
def installed(database: str, gemini_url: str) -> Iterator[tuple[Kit, PostgresServer | None]]:
    """Make an installation folder on a database."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="obc kit ")))
        kit = Kit(home=folder / "home")
        kit.home.mkdir()
        kit.env = {
            "GOOGLE_API_KEY": "loopback",
            "OBC_SITE_GEMINI_URL": gemini_url,
            "OBC_SITE_DAY_BUDGET": "1000",
        }
        server, databases = None, {}
        if database == "postgres":
            import psycopg

            server = stack.enter_context(run_postgres())
            with psycopg.connect(server.dsn, autocommit=True) as admin:
                admin.execute('CREATE DATABASE "obc site"')
            databases = {"default": server.settings("obc site")}
        (folder / "proof_settings.py").write_text(SETTINGS.format(database=databases))
        kit.env["PYTHONPATH"] = f"{folder}{os.pathsep}{kit.environment()['PYTHONPATH']}"
        kit.env["DJANGO_SETTINGS_MODULE"] = "proof_settings"
        yield kit, server


def destroy(kit: Kit, server: PostgresServer | None) -> None:
    if server is None:
        for each in kit.home.glob("db.sqlite3*"):
            each.unlink()
        return
    import psycopg

    with psycopg.connect(server.dsn, autocommit=True) as admin:
        admin.execute('DROP DATABASE "obc site" WITH (FORCE)')


def back_up_while_used(kit: Kit, report: Report, backups: int) -> Path:
    """Back up again and again while the site is used; return the last one that is quiet."""
    writers = Writers(kit, 3)
    made: list[tuple[Path, set[str]]] = []
    try:
        writers.wait_for(20)
        for _ in range(backups):
            writers.wait_for(10)
            before = set(writers.answered)
            made.append((kit.back_up(), before))
        refused = kit.run("db_restore.sh", made[-1][0])
        report.expect(refused.returncode == 3, f"not refused: {refused.stdout}")
        report.expect("The site runs" in refused.stdout, f"not named: {refused.stdout}")
    finally:
        writers.stop()
    kit.manage("ai_drain_spool")
    quiet = kit.fingerprint()
    last = kit.back_up("--label", "quiet")
    for folder, before in made:
        done = kit.run("db_restore.sh", folder, "--force")
        report.expect(done.returncode == 0, f"not restored: {done.stdout}")
        report.expect("ledger $" in done.stdout and "as backed up" in done.stdout, done.stdout)
        missing = before - set(kit.manage("shell", "-v0", "-c", IDS).split())
        report.expect(not missing, f"{len(missing)} answered calls are not in {folder}")
    report.line(
        f"- {backups} backups while 3 processes asked and edited ({len(writers.answered):,}"
        f" answered calls, {dollars(sum(writers.answered.values()))}): each restored and equal to"
        " its manifest, with every call that was answered before it began. A restore meanwhile:"
        " refused."
    )
    done = kit.run("db_restore.sh", last, "--force")
    report.expect(done.returncode == 0, done.stdout)
    report.expect(kit.fingerprint() == quiet, "The quiet backup is not what was backed up.")
    report.expect(quiet["ledger_nano_dollars"] >= sum(writers.answered.values()), "calls lost")
    return last


def destroy_and_restore(kit: Kit, server: PostgresServer | None, report: Report) -> None:
    before = kit.fingerprint()
    kit.back_up("--keep-days", 14)
    destroy(kit, server)
    gone = kit.run("db_backup.sh")
    named = "There is no database at" if server is None else 'database "obc site" does not exist'
    report.expect(gone.returncode == 1 and named in gone.stdout, f"not named: {gone.stdout}")
    done = kit.run("db_restore.sh", "latest")
    report.expect(done.returncode == 0, f"not restored: {done.stdout}")
    after = kit.fingerprint()
    report.expect(after == before, "What was restored is not what was destroyed.")
    rows = sum(after["tables"].values())
    report.line(
        f"- destroyed and restored: {len(after['tables'])} tables, {rows:,} rows, ledger"
        f" {dollars(after['ledger_nano_dollars'])} before and after"
    )
    kit.manage("ai_index", "--verify")


def roll_back(kit: Kit, report: Report) -> None:
    before = kit.fingerprint()
    kit.make_releases()
    report.expect(
        "communities_visit" in kit.fingerprint()["tables"], "The release did not migrate."
    )
    done = kit.run("rollback.sh")
    report.expect(done.returncode == 0 and kit.current == "1", f"not rolled back: {done.stdout}")
    after = kit.fingerprint()
    for name in KEPT_BY_DJANGO:
        before["tables"].pop(name)
        after["tables"].pop(name)
    report.expect(after == before, "The rollback left other data.")
    report.line(
        f"- rolled back from release 2 to {kit.current}: tables, migrations and ledger as before,"
        " but for the content type and permissions that Django had made for the new model"
    )


def lose_the_server(kit: Kit, server: PostgresServer, report: Report) -> None:
    """Too old tools, and a server that is gone: the last thing, since it does not come again."""
    stubs = kit.home / "old tools"
    stubs.mkdir()
    for name in ("pg_dump", "pg_restore"):
        (stubs / name).write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) 15.9'\n")
        (stubs / name).chmod(0o755)
    done = kit.run("db_backup.sh", OBC_SITE_PG_BIN=str(stubs))
    report.expect("needs pg_dump 18 or later; found 15.9" in done.stdout, done.stdout)
    server.supervised.stop()
    for name, arguments in (("db_backup.sh", []), ("db_restore.sh", ["latest", "--force"])):
        done = kit.run(name, *arguments)
        named = "PostgreSQL at" in done.stdout and "Traceback" not in done.stdout
        report.expect(done.returncode == 1 and named, f"{name} without a server: {done.stdout}")
    report.line("- tools older than the server, and a server that is gone: said by both scripts")


def rehearse(database: str, url: str, report: Report, *, is_small: bool) -> None:
    with installed(database, url) as (kit, server):
        kit.manage("migrate", "-v0")
        kit.manage("load_places", *([] if is_small else ["--region", "all"]))
        kit.manage("ai_index", "communities")
        kit.manage("demo")
        quiet = back_up_while_used(kit, report, 1 if is_small else 5)
        destroy_and_restore(kit, server, report)
        roll_back(kit, report)
        count = plant_faults(kit, quiet, report)
        report.line(f"- {count} planted faults: each named, the present database as it was")
        kill_in_the_middle(kit, quiet, report, 1 if is_small else 10)
        if server is not None:
            lose_the_server(kit, server, report)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--only", choices=("sqlite", "postgres"))
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    report = Report()
    begun = time.monotonic()
    description: Any = __doc__
    with run_gemini_process() as gemini:
        # SQLite at reduced size is what tests/deploy does.
        for name in ("postgres",) if given.small else ("sqlite", "postgres"):
            if given.only in (None, name):
                report.line(f"\n## {'SQLite' if name == 'sqlite' else 'PostgreSQL'}\n")
                rehearse(name, gemini.url, report, is_small=given.small)
    title = "# Backup, restore and rollback\n\n"
    machine = (
        f"\nPython {platform.python_version()}, SQLite {sqlite3.sqlite_version},"
        f" {time.monotonic() - begun:.0f} s. Faults of the proof: {len(report.faults)}.\n"
    )
    faults = "".join(f"\n**FAULT**: {each}\n" for each in report.faults)
    given.out.write_text(title + description + "\n".join(report.lines) + "\n" + machine + faults)
    return bool(report.faults)


if __name__ == "__main__":
    raise SystemExit(main())
