"""Fill a database with an earlier package, upgrade it, and go on with this one.

The earlier package is the newest release (the highest tag v*), or what `--from REF` names. Before
the first release it is the oldest commit whose migrations this package still has word for word. A
site of the earlier package asks, chats, submits and indexes; then this package migrates. Every old
row must be there as it was, the schema must be that of a new installation, and money and search go
on.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
MIGRATIONS = "django_obc_ai/migrations"
SITE = Path(__file__).with_name("_upgrade_site.py")


def git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout


def find_origin() -> str:
    """Return what to upgrade from."""
    if tags := git("tag", "--list", "v*", "--sort=-version:refname").split():
        return tags[0]
    now = dict(_migrations("HEAD"))
    origin = "HEAD"
    for ref in git("log", "--format=%H", "--", MIGRATIONS).split():  # newest first
        held = _migrations(ref)
        if not held or not set(held) <= set(now.items()):
            break
        origin = ref
    return origin


def _migrations(ref: str) -> list[tuple[str, str]]:
    """Names and contents, by hash, of a commit's migrations."""
    rows = (line.split() for line in git("ls-tree", ref, f"{MIGRATIONS}/").splitlines())
    return [(row[3], row[2]) for row in rows]


class Database:
    """One database that both packages use in turn, and another for a new installation."""

    def __init__(self, name: str, old: Path, folder: Path, settings: list[dict[str, Any]]) -> None:
        self.name = name
        self._old, self._folder = old, folder
        self._used, self._new = settings

    def trial(self) -> tuple[list[str], dict[str, Any]]:
        """Return the faults that were found, and figures."""
        before = self._run("fill", package=self._old)
        after = self._run("migrate")
        fresh = self._run("migrate", database=self._new)
        used = self._run("use")
        faults = compare_rows(before, after) + compare_schemas(after, fresh)
        if used["ledger"] != used["spent"] or not used["ledger"]:
            faults.append(f"the cost store has {used['spent']}, the ledger {used['ledger']}")
        if used["added to both"] != [used["cost"]] * 2 or not used["cost"]:
            faults.append(f"a call of {used['cost']} added {used['added to both']}")
        if used["found"] != 3:
            faults.append(f"a search found {used['found']} of 3")
        rows = {name: len(table["rows"]) for name, table in before.items() if table["rows"]}
        return faults, {"tables": len(after), "filled": len(rows), "rows": sum(rows.values())}

    def _run(
        self, what: str, *, package: Path | None = None, database: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        path = [str(package)] if package else []
        kept = {n: v for n, v in os.environ.items() if n not in ("PYTHONPATH", "PYTHONSAFEPATH")}
        inherited = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        settings = json.dumps(database or self._used)
        command = [sys.executable, str(SITE), what, str(self._folder), settings, str(package or "")]
        done = subprocess.run(
            command,
            env={**kept, "PYTHONPATH": os.pathsep.join([*path, *filter(None, inherited)])},
            cwd=self._folder,
            stdout=subprocess.PIPE,
            text=True,
        )
        if done.returncode:
            raise SystemExit(f"{self.name}: '{what}' failed")
        return dict(json.loads(done.stdout.splitlines()[-1]))


def compare_rows(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Name tables and columns in which a row is not what it was. New columns do not count."""
    faults = []
    for name, table in before.items():
        if name not in after:
            faults.append(f"{name}: the table is gone")
            continue
        columns = {each[0] for each in after[name]["columns"]}
        gone = sorted({each[0] for each in table["columns"]} - columns)
        faults += [f"{name}.{column} is gone" for column in gone]
        now = [{k: v for k, v in row.items() if k not in gone} for row in table["rows"]]
        kept = [{k: row.get(k) for k in old} for old in now[:1] for row in after[name]["rows"]]
        missing = sum(row not in kept for row in now)
        if missing or len(after[name]["rows"]) < len(now):
            faults.append(f"{name}: {missing} of {len(now)} rows are not as they were")
    return faults


def compare_schemas(upgraded: dict[str, Any], fresh: dict[str, Any]) -> list[str]:
    """Name tables whose columns or constraints are not those of a new installation."""
    return [
        f"{name}: {part} differ from those of a new installation"
        for name in sorted(upgraded.keys() | fresh.keys())
        for part in ("columns", "constraints")
        if upgraded.get(name, {}).get(part) != fresh.get(name, {}).get(part)
    ]


@contextmanager
def databases(old: Path, folder: Path, *, is_small: bool) -> Iterator[list[Database]]:
    """Yield SQLite, and unless it is a small run a real PostgreSQL."""
    sqlite = [
        {"ENGINE": "django.db.backends.sqlite3", "NAME": str(folder / f"{name}.sqlite3")}
        for name in ("used", "new")
    ]
    found = [Database("SQLite", old, folder, sqlite)]
    if is_small:
        yield found
        return
    import psycopg

    from tests.servers.postgres import run_postgres

    with run_postgres() as server, psycopg.connect(server.dsn, autocommit=True) as admin:
        settings = []
        for name in ("upgrade_used", "upgrade_new"):
            admin.execute(f"CREATE DATABASE {name}")
            settings.append(dict(server.settings(name)))
        yield [*found, Database("PostgreSQL", old, folder, settings)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--from", dest="origin", default="")
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    origin = options.origin or find_origin()
    told = git("log", "-1", "--format=%h of %cs", origin).strip()
    age = git("rev-list", "--count", f"{origin}..HEAD").strip()
    kind = "a release" if origin.startswith("v") else "there is no release yet"
    lines, faults = [], []
    with tempfile.TemporaryDirectory() as scratch:
        old, folder = Path(scratch) / "old", Path(scratch) / "site"
        old.mkdir()
        folder.mkdir()
        archive = subprocess.run(
            ["git", "archive", origin, "django_obc_ai"], cwd=ROOT, check=True, capture_output=True
        )
        subprocess.run(["tar", "--extract"], input=archive.stdout, cwd=old, check=True)
        with databases(old, folder, is_small=options.small) as found:
            for each in found:
                wrong, figures = each.trial()
                faults += [f"{each.name}: {fault}" for fault in wrong]
                lines.append(
                    f"| {each.name} | {figures['tables']} | {figures['filled']} |"
                    f" {figures['rows']} | {len(wrong)} |"
                )
    text = [
        "# Upgrade from an earlier package", "", (__doc__ or "").strip(), "",
        f"From {told}, {age} commits ago ({kind}). `./tests/acceptance/run.sh upgrade`", "",
        "| Database | tables | filled by the earlier package | rows | differences |",
        "|---|---|---|---|---|", *lines, "", *(f"- {fault}" for fault in faults),
    ]  # fmt: skip
    Path(options.out).write_text("\n".join(text).strip() + "\n", encoding="utf-8")
    if faults:
        raise SystemExit("The upgrade lost or changed something.")


if __name__ == "__main__":
    main()
