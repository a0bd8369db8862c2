"""The steps of an installation, in order; each can be run again, and says if nothing was to do."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from deploy.backups.problems import Problem, say
from deploy.install import certificate, commands, machine, packages, releases
from deploy.install.filling import Filling
from deploy.install.preparing import Preparing
from deploy.install.starting import Starting


class Installation(Preparing, Filling):
    """All steps of deploy_ai.sh."""

    def install(self) -> None:
        """Run all steps.

        Raises:
            Problem: One failed; the message says which, why, and what serves now.
        """
        steps: list[tuple[str, Callable[[], None]]] = [
            ("Machine", self.machine),
            ("Settings", self.settings),
            ("Packages", self.packages),
            ("Release", self.copy),
            ("Configuration", self.configuration),
            ("Certificate", self.certificate),
            ("Services", self.services),
            ("Checks", self.checks),
            ("Backup", self.back_up),
            ("Migrations", self.migrate),
            ("Superuser", lambda: self.content("superuser")),
            ("Places", lambda: self.content("places")),
            ("Indexes", lambda: self.content("indexes")),
            ("Static files", self.static_files),
            ("Start", self.start),
            ("Old releases", self.prune),
            ("Verification", self.verify),
        ]
        for number, (title, step) in enumerate(steps, start=1):
            say(f"== {number}/{len(steps)} {title}")
            try:
                step()
            except Problem as problem:
                problem.args = (
                    f"step {number}/{len(steps)} {title}: {problem}\n{self.aftermath()}",
                )
                raise
        self.farewell()

    def aftermath(self) -> str:
        """Say what serves after a step has failed, and how to go on."""
        now = releases.current(self.home)
        serves = f"The release {now.name} is current, as before." if now else "Nothing serves yet."
        if now and now == getattr(self, "release", None):
            serves = f"The release {now.name} is current."
        if self.backup:
            serves += f" The database as it was before its migrations: {self.backup}."
        return f"   {serves} Correct it and run the same again: what is done is left as it is."

    def start(self) -> None:
        """Make the release and its files the current ones, and let the processes take them up."""
        conf, before = self.home / "conf", self.home / "conf.before"
        if not before.exists():  # else a run was killed since
            draft = self.home / "conf.draft"
            shutil.rmtree(draft, ignore_errors=True)
            shutil.copytree(conf, draft)
            draft.rename(before)
        self.render("conf")
        Starting(self).start()
        for each in (before, self.home / "conf.new"):
            shutil.rmtree(each)

    def prune(self) -> None:
        """Remove releases and packages that nobody needs."""
        gone = releases.prune(self.home, self.options.keep_releases)
        gone += packages.prune(self.home)
        say(f"   removed: {', '.join(gone)}" if gone else "   nothing to remove")

    def verify(self) -> None:
        """Ask the site itself."""
        path = self.home / "current" / "example_project" / "scripts" / "verify_ai.sh"
        if not self.options.verifies or not self.options.starts:
            say(f"   left out; later: {self.script('verify_ai.sh')}")
        elif not path.is_file():
            say("   this release has no verify_ai.sh")
        else:
            command = [str(path), "--home", str(self.home)]
            env = commands.environment(os.environ)
            if code := subprocess.run(command, env=env, cwd="/", check=False).returncode:  # noqa: S603
                raise Problem(f"verify_ai.sh ended with code {code}; what failed stands above.")

    def farewell(self) -> None:
        """Say where the site is, and how to go on."""
        values = self.decision.values
        say(f"== Done: {self.decision.origin}  (admin: {self.decision.origin}admin/)")
        say(f"   answers: {self.decision.answers()}")
        openssl, path = machine.find("openssl") or "openssl", Path(values["certificate"])
        if certificate.is_throwaway(openssl, path):
            say(
                f"   certificate: THROWAWAY; put a real one into {path.parent}, then run this again"
            )
        say(f"   commands:  {self.script('manage.sh')} COMMAND")
        control = [str(self.venv / "bin/supervisorctl"), "-c", self.supervisor().config, "status"]
        say(f"   processes: {shlex.join(control)}")
        days, log = values["keep_backups_days"], self.home / "log" / "nightly.log"
        say(f"   backups:   every night at {values['nightly_at']}, kept for {days} days; see {log}")
        say(f"   back to the release before: {self.script('rollback.sh')}")
