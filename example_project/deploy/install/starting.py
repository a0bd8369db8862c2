"""Another release is made the current one: `current` is switched, the processes take it up.

What runs is written into run/serving.json once it does, with the processes that it holds for: a run
that was killed in between is resumed by the next one, and one that finds nothing new leaves the
processes alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy import render
from deploy.backups.problems import Problem, say
from deploy.install import packages, releases
from deploy.install.processes import (
    PATIENCE,
    SITE,
    Supervisor,
    answers,
    children,
    nginx_fault,
    wait,
)

if TYPE_CHECKING:
    from deploy.install.steps import Installation

#: Servers that replace their own processes, by what cannot be replaced that way.
_SERVERS = {"web": "gunicorn", "streams": "uvicorn"}


def _digest(*paths: Path) -> str:
    found = hashlib.sha256()
    for path in paths:
        found.update(path.read_bytes() if path.is_file() else b"")
    return found.hexdigest()


class Starting:
    """The switch to a release, and back if it does not serve."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.home, self.release = installation.home, installation.release
        self.values = installation.decision.values
        self.supervisor: Supervisor = installation.supervisor()
        self.path = self.home / "run" / "serving.json"
        self.programs = [*SITE, "nginx"] if self.values["autostart_nginx"] == "true" else [*SITE]

    def serving(self) -> dict[str, Any]:
        """Return what runs: what was seen last, or what was current when it was restarted since."""
        try:
            found: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            found = {}
        if found.pop("processes", None) == self.processes():
            return found
        now = releases.current(self.home)
        return {} if now is None else {**self.wanted(now), "settings": "", "nginx": ""}

    def processes(self) -> dict[str, int]:
        """Return the process of each program of the site."""
        status = self.supervisor.status()
        return {name: status[name][1] for name in SITE if name in status}

    def wanted(self, release: Path) -> dict[str, Any]:
        """Return what is to run."""
        conf = self.home / "conf"
        certificate = [Path(self.values[name]) for name in ("certificate", "certificate_key")]
        return {
            "release": release.name,
            "venv": os.path.realpath(release / "venv"),
            "settings": _digest(self.home / ".env"),
            "nginx": _digest(conf / "nginx.conf", conf / "nginx-site.conf", *certificate),
        }

    def start(self) -> None:
        """Switch, and wait until everything answers; go back if it does not.

        Raises:
            Problem: It does not, whichever release is current now.
        """
        was = self.serving()
        before = self.home / "releases" / was.get("release", self.release.name)
        is_new = releases.lead(self.home / "current", f"releases/{self.release.name}")
        say(f"   current: {self.release.name}{'' if is_new else ', already there'}")
        if not self.installation.options.starts:
            releases.has_served(self.home, self.release.name)
            say("   --no-start: let web and streams reload, and restart worker and beat")
            if any(self.processes().values()) and not self.supervisor.conf:
                control = f"{self.home}/current/venv/bin/supervisorctl"
                say(
                    "   note: supervisord runs the site. Before systemd does, end it, or there are"
                    f" two of all:\n   {control} -c {self.supervisor.config} shutdown"
                )
            return
        try:
            self.take_up(self.release, was)
        except Problem as problem:
            if before == self.release or not before.is_dir():
                raise
            releases.lead(self.home / "current", f"releases/{before.name}")
            kept = self.home / "conf.before"
            texts = {name: path.read_text(encoding="utf-8") for name in render.templates()
                     if (path := kept / name.removesuffix(".in")).is_file()}  # fmt: skip
            render.write(self.home / "conf", texts)
            shutil.rmtree(kept)
            try:
                self.take_up(before, {})
            except Problem as another:
                raise Problem(
                    f"{problem}\n   Nor does {before.name} start again: {another}"
                ) from None
            raise Problem(f"{problem}\n   So {before.name} serves again.") from None

    def take_up(self, release: Path, was: dict[str, Any]) -> None:
        """Let the processes run a release, and wait until all of them answer.

        Args:
            release: The current one.
            was: What runs, as `serving` tells it; nothing restarts all.
        """
        wanted = self.wanted(release)
        if self.supervisor.runs():
            before = self.supervisor.status()
            self.supervisor.do("update")
            after = self.supervisor.status()
            same = [
                name
                for name in self.programs
                if before.get(name, (0, 0))[1] == after.get(name, (0, 1))[1] != 0
            ]
            if was == wanted and len(same) == len(self.programs):
                say("   already there: all processes run it")
            else:
                self._renew([each for each in same if each in SITE], was, wanted)
                if "nginx" in same and was.get("nginx") != wanted["nginx"]:
                    self.supervisor.do("signal", "HUP", "nginx")
                    say("   nginx: reloaded")
        else:
            self.installation.refuse_strays()
            self.supervisor.start()
            say("   supervisord: started")
        self.supervisor.ensure(self.programs)
        self._wait_for_answers()
        draft = self.path.with_suffix(".new")
        draft.write_text(json.dumps({**wanted, "processes": self.processes()}), encoding="utf-8")
        draft.replace(self.path)
        releases.has_served(self.home, release.name)
        say(f"   {', '.join(self.programs)}: running, and answer")

    def _renew(self, running: list[str], was: dict[str, Any], wanted: dict[str, Any]) -> None:
        """Let running programs take up code, packages and settings."""
        keys = ("release", "venv", "settings")
        if [was.get(key) for key in keys] == [wanted[key] for key in keys]:
            return
        old = packages.servers(Path(was["venv"])) if "venv" in was else {}
        new = packages.servers(Path(wanted["venv"]))
        pids = {name: self.supervisor.status()[name][1] for name in running}
        reloaded = []
        for name in running:
            if name in _SERVERS and old.get(_SERVERS[name]) == new[_SERVERS[name]]:
                reloaded.append(name)
            else:
                # A server cannot become another version of itself; workers end their jobs first.
                self.supervisor.do("restart", name)
        workers = {name: children(pids[name]) for name in reloaded}
        if reloaded:
            self.supervisor.do("signal", "HUP", *reloaded)
        for name in reloaded:
            self._wait_for_new(name, pids[name], workers[name])
        restarted = [name for name in running if name not in reloaded]
        if running:
            told = f"reloaded: {', '.join(reloaded) or 'none'}"
            say(f"   {told}; restarted: {', '.join(restarted) or 'none'}")

    def _wait_for_new(self, name: str, pid: int, old: set[int]) -> None:
        """Wait until a server has processes of the new release, of which the first is enough.

        An old one tells its answers to their ends, and uvicorn starts the new one after that.
        """
        patience = int(self.values["stop_wait"]) + PATIENCE
        if not wait(lambda: children(pid) - old, patience):
            log = self.supervisor.last_lines(name)
            raise Problem(f"{name} has not taken up the release. {log}")
        if not wait(lambda: not children(pid) & old, 30):
            say(f"   {name}: processes of before still tell their answers, and end then")

    def _wait_for_answers(self) -> None:
        live = self.home / "current" / "example_project" / "deploy" / "live.py"
        env = self.installation.environment()
        for name in _SERVERS:
            fault = [""]

            def is_well(name: str = name, fault: list[str] = fault) -> bool:
                fault[0] = answers(sys.executable, live, name, self.home, env)
                return not fault[0]

            if not wait(is_well):
                raise Problem(f"{fault[0]}. {self.supervisor.last_lines(name)}")
        if "nginx" in self.programs and not wait(lambda: not nginx_fault(self.values), 30):
            raise Problem(f"{nginx_fault(self.values)}. {self.supervisor.last_lines('nginx')}")
