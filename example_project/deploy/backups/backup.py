"""Back up the site's database; scripts/db_backup.sh is the way to it.

What is written down of the data (rows, ledger, migrations) is of the very moment that is in the
backup: a copy of SQLite is read itself, and PostgreSQL dumps the snapshot in which is counted.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import re
import shlex
import sqlite3
from contextlib import closing
from importlib import metadata
from pathlib import Path
from typing import Any

from deploy.backups import archive, sqlite
from deploy.backups.fingerprint import Fingerprint, dollars, money_columns, take
from deploy.backups.postgres import Server, run_tool, tool
from deploy.backups.problems import Problem, run, say


def arguments() -> argparse.Namespace:
    """Read what the script was called with."""
    parser = argparse.ArgumentParser(prog="db_backup.sh")
    parser.add_argument("--to", type=Path)
    parser.add_argument("--database", default="default")
    parser.add_argument("--label", default="")
    parser.add_argument("--keep-days", type=int)
    parser.add_argument("--schedule", action="store_true")
    parser.add_argument("--script", type=Path, required=True)
    return parser.parse_args()


def settings_of(alias: str) -> dict[str, Any]:
    """Return the settings of a database that this can back up."""
    from django.db import connections

    if alias not in connections:
        raise Problem(f"DATABASES has no {alias!r}; it has {', '.join(connections)}.")
    connection = connections[alias]
    if connection.vendor not in ("sqlite", "postgresql"):
        raise Problem(
            f"DATABASES[{alias!r}] is {connection.vendor}; this knows SQLite and PostgreSQL."
        )
    if connection.vendor == "sqlite" and connection.is_in_memory_db():
        raise Problem(f"DATABASES[{alias!r}] is in memory: it ends with its process.")
    return {**connection.settings_dict, "vendor": connection.vendor}


def drain_spool() -> None:
    """Take up the operations that wait on the disk: they belong to the ledger."""
    from django.core.management import CommandError, call_command
    from django.db import Error

    try:
        call_command("ai_drain_spool", verbosity=0)
    except (CommandError, Error) as error:
        say(f"   operations that wait in the spool are not in this backup: {error}")


def main() -> None:
    """Make a backup, and remove old ones if asked."""
    import django

    given = arguments()
    if given.keep_days is not None and given.keep_days < 1:
        raise Problem(f"--keep-days {given.keep_days} would keep nothing; 1 is the least.")
    if not re.fullmatch(r"[A-Za-z0-9._-]{0,60}", given.label):
        raise Problem(f"--label {given.label!r} is part of a folder's name: letters, digits, . _ -")
    home = Path(os.environ["OBC_SITE_VAR"])
    root = (given.to or home / "backups").absolute()
    if given.schedule:
        say(schedule(given, home))
        return
    django.setup()
    settings = settings_of(given.database)
    drain_spool()
    folder = back_up(settings, root, given.label, given.database)
    say(f"Backup: {folder}")
    if given.keep_days is not None:
        for gone in archive.prune(root, given.keep_days, datetime.datetime.now(datetime.UTC)):
            say(f"   older than {given.keep_days} days, removed: {gone.name}")


def back_up(settings: dict[str, Any], root: Path, label: str, alias: str) -> Path:
    """Write a whole backup, or none, and return its folder."""
    with archive.writing(root) as scratch:
        made_at = datetime.datetime.now(datetime.UTC)
        dump = dump_sqlite if settings["vendor"] == "sqlite" else dump_postgres
        facts, fingerprint = dump(settings, scratch)
        manifest = {
            "made_at": made_at.isoformat(),
            "vendor": settings["vendor"],
            "database": alias,
            "name": str(settings["NAME"]),
            **facts,
            "settings": os.environ["DJANGO_SETTINGS_MODULE"],
            "release": Path(__file__).resolve().parents[2].name,
            "python": platform.python_version(),
            "django": metadata.version("django"),
            "packages": {d.name: d.version for d in sorted(metadata.distributions(), key=_name)},
            "tables": fingerprint.tables,
            "sums": fingerprint.sums,
            "ledger": fingerprint.ledger,
            "ledger_nano_dollars": fingerprint.ledger_nano,
            "migrations": fingerprint.migrations,
        }
        name = stem = f"{made_at:%Y%m%dT%H%M%SZ}" + (f"-{label}" if label else "")
        number = 1
        while (root / name).exists():
            number += 1
            name = f"{stem}-{number}"
        folder = archive.seal(scratch, name, manifest)
    rows = sum(fingerprint.tables.values())
    size = manifest["bytes"] / 1e6
    say(
        f"   {len(fingerprint.tables)} tables, {rows:,} rows, {size:,.1f} MB,"
        f" ledger {dollars(fingerprint.ledger_nano)}"
    )
    return folder


def dump_sqlite(settings: dict[str, Any], scratch: Path) -> tuple[dict[str, str], Fingerprint]:
    """Copy the file, and read the fingerprint from the copy."""
    target = scratch / "database.sqlite3"
    sqlite.copy(Path(settings["NAME"]).absolute(), target)
    columns, ledger = money_columns()
    with closing(sqlite.connect(target, "ro")) as connection:
        found = take(sqlite.query_of(connection), vendor="sqlite", columns=columns, ledger=ledger)
    return {"file": target.name, "server": sqlite3.sqlite_version}, found


def dump_postgres(settings: dict[str, Any], scratch: Path) -> tuple[dict[str, Any], Fingerprint]:
    """Let pg_dump dump the snapshot of a transaction, and count inside that transaction."""
    server = Server(settings)
    target = scratch / "database.dump"
    columns, ledger = money_columns()
    with server.connection(server.name) as wrapper, wrapper.cursor() as cursor:
        major, version = server.version(wrapper)
        program, tool_version = tool("pg_dump", major)
        locale = server.locale(wrapper)

        def query(sql: str) -> list[tuple[Any, ...]]:
            cursor.execute(sql)
            return list(cursor.fetchall())

        cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        snapshot = query("SELECT pg_export_snapshot()")[0][0]
        command = [
            str(program), "--format=custom", "--no-password", f"--snapshot={snapshot}",
            "--lock-wait-timeout=60s", f"--file={target}",
        ]  # fmt: skip
        environment = {**server.environment(wrapper), "PGDATABASE": server.name}
        run_tool(command, subject=server.name, environment=environment, folder=scratch)
        found = take(query, vendor="postgresql", columns=columns, ledger=ledger)
        cursor.execute("COMMIT")
    facts = {"file": target.name, "server": version, "pg_dump": tool_version, "locale": locale}
    return facts, found


def schedule(given: argparse.Namespace, home: Path) -> str:
    """Return the line for cron, and a service and a timer for systemd."""
    command = [str(given.script), "--home", str(home), "--keep-days", str(given.keep_days or 14)]
    if given.to:
        command += ["--to", str(given.to.absolute())]
    line = shlex.join(command).replace("%", "\\%")
    unit = " ".join('"' + each.replace("\\", "\\\\").replace('"', '\\"') + '"' for each in command)
    unit = unit.replace("%", "%%").replace("$", "$$")
    return f"""\
# crontab -e, as the site's user: every night at 02:17; cron mails what fails.
17 2 * * * {line} >/dev/null

# or systemd, ~/.config/systemd/user/obc-backup.service:
[Unit]
Description=Backup of the site's database
[Service]
Type=oneshot
ExecStart={unit}

# ~/.config/systemd/user/obc-backup.timer; systemctl --user enable --now obc-backup.timer
[Unit]
Description=Backup of the site's database, every night
[Timer]
OnCalendar=*-*-* 02:17
Persistent=true
[Install]
WantedBy=timers.target"""


def _name(distribution: metadata.Distribution) -> str:
    return distribution.name.lower()


if __name__ == "__main__":
    run(main)
