"""supervisord and what it runs: started, told of another release, waited for."""

from __future__ import annotations

import http.client
import os
import re
import ssl
import subprocess
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.backups.problems import Problem
from deploy.install.commands import run

SITE = ("web", "streams", "worker", "beat", "nightly")
#: Seconds in which a process has to answer.
PATIENCE = 120.0


def wait(is_so: Callable[[], object], seconds: float = PATIENCE) -> bool:
    """Return whether something became true in time."""
    end = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > end:
            return False
        time.sleep(0.25)
    return True


@dataclass(frozen=True, slots=True)
class Supervisor:
    """The supervisord of an installation.

    Attributes:
        home: The installation folder.
        python: Of an environment that has supervisor.
        env: What its processes start with.
        log: Where its command line's output is added.
        conf: Another configuration than the installation's own; then it is somebody else's.
    """

    home: Path
    python: Path
    env: Mapping[str, str]
    log: Path
    conf: str = ""

    @property
    def config(self) -> str:
        """The configuration's path."""
        return self.conf or str(self.home / "conf" / "supervisord.conf")

    def _ask(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(self.python), "-P", "-m", "supervisor.supervisorctl", "-c", self.config]
        return subprocess.run(  # noqa: S603
            [*command, *arguments], env=dict(self.env), cwd="/", capture_output=True, text=True,
            check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def runs(self) -> bool:
        """Does it answer?"""
        return Path(self.config).is_file() and self._ask("pid").returncode == 0

    def status(self) -> dict[str, tuple[str, int]]:
        """Return state and process id (0: none) of each program."""
        told = self._ask("status").stdout
        found = {}
        for line in told.splitlines():
            if match := re.match(r"(\S+)\s+([A-Z]+)\b(?:.*\bpid (\d+))?", line):
                found[match[1]] = (match[2], int(match[3] or 0))
        return found

    def do(self, *arguments: str) -> str:
        """Run a command of supervisorctl, and return what it said."""
        command = [self.python, "-P", "-m", "supervisor.supervisorctl", "-c", self.config]
        what = f"supervisorctl {' '.join(arguments)}"
        done = run([*command, *arguments], what=what, env=self.env, log=self.log)
        if "ERROR" in done.stdout:
            raise Problem(f"{what} failed: {done.stdout.strip()[-500:]}")
        return done.stdout

    def start(self) -> None:
        """Start supervisord, which starts what has autostart, and goes on after this process."""
        if self.conf:
            raise Problem(
                f"The supervisord of OBC_SITE_SUPERVISOR_CONF ({self.conf}) does not run."
            )
        # By the name of its own environment, which is not removed while it runs in it.
        python = self.python.parent.resolve() / self.python.name
        command = [python, "-P", "-m", "supervisor.supervisord", "-c", self.config]
        run(command, what="supervisord", env=self.env, log=self.log)
        if not wait(self.runs, 30):
            raise Problem(f"supervisord does not answer: see {self.home / 'log/supervisord.log'}.")

    def ensure(self, names: Collection[str]) -> None:
        """Start those of the programs that do not run, and wait until all of them do."""
        for name in names:
            state = self.status().get(name, ("UNKNOWN", 0))[0]
            if state not in ("RUNNING", "STARTING"):
                self._ask("start", name)
        self.wait_for(names)

    def wait_for(self, names: Collection[str]) -> None:
        """Wait until programs run.

        Raises:
            Problem: One of them does not; its last lines are in the message.
        """

        def down() -> list[str]:
            found = self.status()
            return [name for name in names if found.get(name, ("", 0))[0] != "RUNNING"]

        def is_over() -> bool:
            found = self.status()
            return not down() or any(found.get(name, ("", 0))[0] == "FATAL" for name in names)

        wait(is_over)
        if left := down():
            raise Problem(f"{left[0]} does not run. {self.last_lines(left[0])}")

    def last_lines(self, name: str) -> str:
        """Return the end of what a program wrote, for a message."""
        path = self.home / "log" / f"{name}.log"
        if not path.is_file():
            return f"It wrote no {path}; see {self.home / 'log/supervisord.log'}."
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 4000))
            lines = file.read().decode("utf-8", errors="replace").splitlines()[-8:]
        listed = "".join(f"\n   | {line[:300]}" for line in lines)
        return f"The end of {path}:{listed}"


def children(pid: int) -> set[int]:
    """Return the processes that serve for a server, without the one that watches them."""
    try:
        started = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return set()
    found = set()
    for each in started:
        try:
            if b"resource_tracker" not in Path(f"/proc/{each}/cmdline").read_bytes():
                found.add(int(each))
        except OSError:
            continue  # it has ended meanwhile
    return found


def answers(python: str, live: Path, name: str, home: Path, env: Mapping[str, str]) -> str:
    """Ask web or streams through its socket; return what is wrong, "" if nothing is."""
    done = subprocess.run(  # noqa: S603
        [python, str(live), name, "--home", str(home)], capture_output=True, text=True, check=False,
        env=dict(env),
    )  # fmt: skip
    return done.stderr.strip() if done.returncode else ""


def nginx_fault(values: Mapping[str, str]) -> str:
    """Ask the site through nginx; return what is wrong, "" if nothing is."""
    context = ssl.create_default_context()
    context.check_hostname = False  # whose certificate it is, verify_ai.sh asks
    context.verify_mode = ssl.CERT_NONE
    connection = http.client.HTTPSConnection(
        values["address"] or "127.0.0.1", int(values["https_port"]), timeout=10, context=context
    )
    try:
        connection.request("GET", "/api/health/live/", headers={"Host": values["host"]})
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"nginx does not answer at port {values['https_port']}: {error}"
    finally:
        connection.close()
    return "" if status == 200 else f"nginx answers with status {status}"


def strays(home: Path) -> dict[int, str]:
    """Return the site's processes that are there without supervisord: those that lead others."""
    marks = {f"{home}/current/venv/bin/python": "", f"{home}/conf/nginx.conf": "nginx"}
    folders = {f"{home}/postgres": "postgres", f"{home}/redis": "redis"}
    found, parents = {}, {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
            folder = str((process / "cwd").readlink())
            stat = (process / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended, or is another user's
        names = [name for mark, name in marks.items() if mark in words]
        if not names and folder in folders:
            names = [folders[folder]]
        if names and process.name != str(os.getpid()):
            last = re.search(r"-m (?:celery -A )?([\w.]+(?: (?:worker|beat))?)", words)
            found[int(process.name)] = names[0] or (last[1] if last else "python")
            parents[int(process.name)] = int(stat[1])
    return {pid: name for pid, name in sorted(found.items()) if parents[pid] not in found}
