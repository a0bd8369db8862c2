"""The steps with the new release's code, while the one before serves: checks, database, content."""

from __future__ import annotations

import os
import re

from deploy.backups.problems import Problem, Refused, say
from deploy.install import commands, releases
from deploy.install.work import Work

#: Checks that an answer in .env decides, and the answer.
_DECIDED = {
    "security.W004": "OBC_SITE_HSTS_SECONDS",
    "security.W005": "OBC_SITE_HSTS_SUBDOMAINS",
    "security.W021": "OBC_SITE_HSTS_PRELOAD",
}


class Filling(Work):
    """Each step can be run again, and says if nothing was to do."""

    def checks(self) -> None:
        """Run Django's checks of a deployment."""
        told = self.manage("check", "--deploy", "--fail-level", "WARNING", codes=(0, 1))
        found = set(re.findall(r"\(([a-z_]+\.[CEW]\d+)\)", told))
        settings = self.decision.settings
        decided = {each for each, name in _DECIDED.items() if settings.get(name) == "0"} & found
        is_clean = "no issues" in told
        if not is_clean and (not found or found - decided):
            listed = "\n".join(f"   | {line}" for line in told.strip().splitlines()[-20:])
            raise Problem(f"manage.py check --deploy is not content:\n{listed}")
        for each in sorted(decided):
            say(f"   note: {each}, as {_DECIDED[each]}=0 in .env decides")
        say("   manage.py check --deploy: no issues" if is_clean else "   nothing else")

    def back_up(self) -> None:
        """Back up what migrations are going to change."""
        self.database = self.ask_database("state")
        waiting = self.database["waiting"]
        if self.options.skips_database and waiting:
            raise Refused(
                f"{len(waiting)} migrations are missing ({', '.join(waiting[:3])} ...), and"
                " --skip-database leaves them to whoever runs the database: manage.py migrate."
            )
        now = releases.current(self.home)
        if now and self.release != now and self.database["unknown"]:
            unknown = ", ".join(self.database["unknown"][:3])
            has_served = self.release.name in releases.served(self.home)
            where = f" {self.release.name}" if has_served else ""
            raise Refused(
                f"{self.release.name} does not know the applied migrations {unknown}, with"
                f" which the current release works. {self.script('rollback.sh')}{where} takes them"
                " back, or db_restore.sh restores a backup from before them; then run this again."
            )
        if not waiting:
            say("   not needed: no migration waits")
            return
        if not self.database["has_data"]:
            say("   not needed: there are no data yet")
            return
        # The current release knows the tables as they are.
        scripts = (now or self.release) / "example_project" / "scripts"
        command = [scripts / "db_backup.sh", "--home", self.home, "--label", "before-migrate"]
        env = commands.environment(os.environ)
        told = commands.run(command, what="db_backup.sh", env=env, log=self.log).stdout
        self.backup = next(
            line.removeprefix("Backup: ")
            for line in told.splitlines()
            if line.startswith("Backup: ")
        )
        say(f"   made: {self.backup}")

    def migrate(self) -> None:
        """Apply the migrations that wait."""
        if not self.database["waiting"]:
            say("   already there: all")
            return
        self.manage("migrate", "--noinput")
        say(f"   applied: {len(self.database['waiting'])}")

    def content(self, what: str) -> None:
        """Bring what a new site starts with."""
        given = {k: v for k, v in os.environ.items() if k.startswith("DJANGO_SUPERUSER_")}
        variables = {"OBC_SITE_MANAGE": self.script("manage.sh")}
        variables |= given if what == "superuser" else {}
        told = self.python("-m", "deploy.install.content", what, what=what, variables=variables)
        for line in told.splitlines():
            if line.startswith("Now run:"):
                continue  # which is what the next step does
            say(f"   {line.strip()}")

    def static_files(self) -> None:
        """Collect static files; those of other releases stay, for whoever has a page of theirs."""
        told = self.manage("collectstatic", "--noinput", umask=0o027)
        word = "already there" if "\n0 static files copied" in f"\n{told}" else "collected"
        say(f"   {word}: {told.strip().splitlines()[-1].strip()}")
