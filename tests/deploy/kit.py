"""Running the kit's scripts as an operator does: in processes of their own, with a folder."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.subprocesses import ROOT, python_environment

#: What the ledger of a test's installation says, in nano-dollars.
SPENT = 123_456_789_012
EXAMPLE = ROOT / "example_project"
SCRIPTS = EXAMPLE / "scripts"
#: A second release: one more table, and a row in it.
NEWER = """
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("communities", "{before}")]
    operations = [
        migrations.CreateModel("Visit", [("id", models.BigAutoField(primary_key=True))]),
        {more}
    ]
"""


@dataclass(kw_only=True)
class Kit:
    """An installation folder and how to work with it.

    Attributes:
        home: The installation folder.
        env: Variables beyond those of the tests.
    """

    home: Path
    env: dict[str, str] = field(default_factory=dict)

    def environment(self, **more: str) -> dict[str, str]:
        """Return the environment of a script: nothing of the caller's own site is in it."""
        inherited = {
            name: value
            for name, value in python_environment().items()
            # Warnings of supervisorctl, as errors, are not what is tested here.
            if name not in ("PYTHONSAFEPATH", "PYTHONWARNINGS", "GOOGLE_API_KEY")
            and not name.startswith("OBC_SITE_")
        }
        own = {
            "PYTHON": sys.executable,
            "OBC_SITE_VAR": str(self.home),
            "OBC_SITE_EMBEDDER": "hashing",
            "DJANGO_SETTINGS_MODULE": "obc_site.settings",
        }
        return inherited | own | self.env | more

    def run(
        self, name: str, *arguments: object, before: str = "", scripts: Path = SCRIPTS, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a script from another folder; output and errors are one text.

        Args:
            name: The script.
            arguments: Its arguments.
            before: What the shell does first: ``ulimit -f 100``, for example.
            scripts: Where the script is.
            env: More variables.
        """
        return subprocess.run(
            [
                "bash",
                "-c",
                f'{before or ":"}; exec "$@"',
                "bash",
                scripts / name,
                *map(str, arguments),
            ],
            cwd="/",
            env=self.environment(**env),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )

    def command(
        self, name: str, *arguments: object, before: str = "", scripts: Path = SCRIPTS
    ) -> list[str]:
        """Return what runs a script; see `run`. It keeps the process id to its end."""
        given = [str(each) for each in (scripts / name, *arguments)]
        return ["bash", "-c", f'{before or ":"}; exec "$@"', "bash", *given]

    def python(self, *arguments: object) -> str:
        """Run the site's Python and return what it printed."""
        environment = self.environment()
        environment["PYTHONPATH"] = f"{EXAMPLE}{os.pathsep}{environment['PYTHONPATH']}"
        done = subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=EXAMPLE,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def manage(self, *arguments: object) -> str:
        """Run a management command."""
        return self.python(EXAMPLE / "manage.py", *arguments)

    def fingerprint(self) -> dict[str, Any]:
        """Return what the database holds."""
        found: dict[str, Any] = json.loads(self.python("-m", "deploy.backups.fingerprint"))
        return found

    def back_up(self, *arguments: object) -> Path:
        """Make a backup that has to succeed, and return its folder."""
        done = self.run("db_backup.sh", *arguments)
        assert done.returncode == 0, done.stdout
        lines = [line for line in done.stdout.splitlines() if line.startswith("Backup: ")]
        return Path(lines[0].removeprefix("Backup: "))

    def backups(self) -> list[str]:
        """Return what is in the folder of backups, leftovers included."""
        return sorted(
            each.name for each in (self.home / "backups").iterdir() if each.name != ".lock"
        )

    def make_releases(self, more: str = "") -> None:
        """Make release 1 as the clone is, and release 2 with one more migration, and use that."""
        for name in ("1", "2"):
            ignored = shutil.ignore_patterns("var", "__pycache__")
            shutil.copytree(EXAMPLE, self.home / f"releases/{name}/example_project", ignore=ignored)
        folder = self.home / "releases/2/example_project/communities/migrations"
        before = max(each.stem for each in folder.glob("0*.py"))
        (folder / "0099_visits.py").write_text(NEWER.format(before=before, more=more))
        (self.home / "current").symlink_to("releases/2")
        environment = self.environment()
        environment["PYTHONPATH"] = f"{folder.parents[1]}{os.pathsep}{environment['PYTHONPATH']}"
        subprocess.run(
            [sys.executable, folder.parents[1] / "manage.py", "migrate", "-v0"],
            env=environment,
            check=True,
        )

    @property
    def current(self) -> str:
        """The name of the current release."""
        return (self.home / "current").resolve().name


def reseal(folder: Path, **changed: object) -> None:
    """Change a manifest and compute the sums anew, as nobody should."""
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | changed))
    names = [manifest["file"], "manifest.json"]
    done = subprocess.run(["sha256sum", *names], cwd=folder, capture_output=True, text=True)
    (folder / "SHA256SUMS").write_text(done.stdout)


def spent(kit: Kit, name: str = "db.sqlite3") -> int:
    """Return what the ledger of a SQLite installation says, in nano-dollars."""
    with closing(sqlite3.connect(kit.home / name)) as connection:
        found = connection.execute("SELECT SUM(cost_usd) FROM django_obc_ai_aioperation")
        return int(found.fetchone()[0])
