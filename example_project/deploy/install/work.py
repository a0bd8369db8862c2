"""What all steps work with: settings, the release's commands, supervisord."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import Any

from deploy import render
from deploy.backups.problems import Refused
from deploy.install import commands
from deploy.install.decisions import Decision, Options
from deploy.install.processes import Supervisor, strays


class Work:
    """One run of deploy_ai.sh.

    Attributes:
        decision: Settings and values, once they are there.
        venv: The packages.
        release: The code.
        database: Migrations that wait, and whether there is data.
        backup: The one that was made before them.
    """

    decision: Decision
    venv: Path
    release: Path
    database: dict[str, Any]

    def __init__(self, options: Options) -> None:
        self.options = options
        self.home = options.home
        self.log = options.home / "log" / "deploy.log"
        self.backup = ""

    def environment(self, **more: str) -> dict[str, str]:
        """Return the environment of a command of the release: what .env says comes by itself."""
        own = {
            "OBC_SITE_VAR": str(self.home),
            "DJANGO_SETTINGS_MODULE": self.decision.values["settings"],
            "PYTHONPATH": f"{self.release / 'example_project'}:{self.release}",
            "PYTHONUNBUFFERED": "1",
        }
        return commands.environment(os.environ, **own, **more)

    def script(self, name: str) -> str:
        """Return how an operator calls a script of this installation."""
        folder = self.home / "current" / "example_project" / "scripts"
        return shlex.join([str(folder / name), "--home", str(self.home)])

    def python(self, *arguments: object, what: str, **more: Any) -> str:
        """Run the release's Python, and return what it printed."""
        env = self.environment(**more.pop("variables", {}))
        command = [self.release / "venv" / "bin" / "python", "-P", *arguments]
        return commands.run(command, what=what, env=env, log=self.log, **more).stdout

    def manage(self, *arguments: str, **more: Any) -> str:
        """Run a management command of the release."""
        path = self.release / "example_project" / "manage.py"
        return self.python(path, *arguments, what=f"manage.py {arguments[0]}", **more)

    def ask_database(self, *arguments: str) -> Any:
        """Run `deploy.install.database`, and return what it tells."""
        told = self.python("-m", "deploy.install.database", *arguments, what="The database")
        return json.loads(told.strip().splitlines()[-1])

    def supervisor(self) -> Supervisor:
        """Return the supervisord of the installation."""
        return Supervisor(
            home=self.home,
            python=self.release / "venv" / "bin" / "python",
            env=commands.environment(os.environ),
            log=self.log,
            conf=os.environ.get("OBC_SITE_SUPERVISOR_CONF")
            or self.decision.settings.get("OBC_SITE_SUPERVISOR_CONF", ""),
        )

    def refuse_strays(self) -> None:
        """Refuse to start beside processes that another supervisord has left."""
        if left := strays(self.home):
            listed = ", ".join(f"{name} (process {pid})" for pid, name in left.items())
            raise Refused(
                f"This site's supervisord does not run, and {listed} of it do. End them and run the"
                f" same again: kill {' '.join(map(str, left))}. If systemd runs them: --no-start."
            )

    def render(self, folder: str, *names: str, autostart: str = "true") -> None:
        """Write the filled files that have changed into a folder: all, or those that are named."""
        changed = dict(self.decision.changed)
        if autostart == "false":
            changed["autostart"] = autostart
        values = render.values(str(self.home), render.HOSTS, changed)
        texts = {name: render.render(name, values) for name in names or render.templates()}
        render.write(self.home / folder, texts)
