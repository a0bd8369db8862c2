"""An installation of the kit, held as an operator holds it: by scripts, files and supervisorctl.

Part of deploy_kit.py.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from _kit_machine import Machine, Started

from tests.check_files import committed_files

ROOT = Path(__file__).resolve().parents[2]
SERVERS = ("web", "streams")
#: What supervisord runs in a trial.
PROGRAMS = ("beat", "nginx", "nightly", "postgres", "redis", "streams", "web", "worker")
PATIENCE_SECONDS = 180
AI, SECURITY = "verify_ai.sh", "verify_security.sh"
#: Checks that may be skipped where all is well: for a certificate of a trial, without a source of
#: advisories, before the first night, for a release, which is no clone, and while nobody
#: administers and watches the site.
MAY_SKIP = (
    "certificate", "certificate-public", "audit", "backup", "secrets-history", "superuser",
    "alerts",
)  # fmt: skip
#: The day by which Python and Django are judged, so that a proof does not fail by the calendar.
DAY = {"OBC_VERIFY_DAY": "2026-11-29"}
_COUNTS = re.compile(r"(\d+) passed, (\d+) failed, (\d+) skipped")


def wait_until(is_so: Callable[[], object], what: str) -> None:
    """Return once something is so."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        if time.monotonic() > end:
            raise SystemExit(f"Waited {PATIENCE_SECONDS} s in vain: {what}.")
        time.sleep(0.3)


@dataclass
class Verdict:
    """What a verification said.

    Attributes:
        checks: Status and text of each check, by its id.
    """

    script: str
    code: int
    output: str
    seconds: float
    checks: dict[str, tuple[str, str]] = field(default_factory=dict)

    def having(self, status: str) -> list[str]:
        """Return the checks that ended so."""
        return [name for name, (found, _) in self.checks.items() if found == status]

    def text(self, name: str) -> str:
        """Return what a check said; "" if it was not made."""
        return self.checks.get(name, ("", ""))[1]

    def has_passed(self, name: str) -> bool:
        """Was a check made, and did it pass?"""
        return self.checks.get(name, ("", ""))[0] == "passed"

    def unexpected_skips(self) -> dict[str, str]:
        """Return what each check says that was skipped and should not be."""
        skipped = self.having("skipped")
        return {each: self.text(each) for each in skipped if each not in MAY_SKIP}

    @property
    def counts(self) -> str:
        """What its last line says."""
        lines = self.output.strip().splitlines()
        return lines[-1] if lines else "nothing"

    @property
    def is_consistent(self) -> bool:
        """Do exit code, last line and results say the same?"""
        found = _COUNTS.fullmatch(self.counts)
        told = [len(self.having(each)) for each in ("passed", "failed", "skipped")]
        return (
            bool(found)
            and told == list(map(int, found.groups()))
            and (  # type: ignore[union-attr]
                self.code == (1 if told[1] or not told[0] else 0)
            )
        )

    def failures(self) -> str:
        """Return what failed, for a message; the output's end where there are no results."""
        found = "; ".join(f"{name}: {self.text(name)}" for name in self.having("failed"))
        return found or f"code {self.code}: {self.output[-600:]}"


@dataclass
class Installation:
    """A folder with a site in it.

    Attributes:
        clone: Where the code comes from.
        home: The installation folder, which each script is told.
        options: Given to deploy_ai.sh in each call.
        variables: In the environment of each deploy.
    """

    machine: Machine
    clone: Path
    home: Path
    options: tuple[str, ...] = ()
    variables: dict[str, str] = field(default_factory=dict)

    def file(self, name: str) -> Path:
        """Return a file of the folder, seen from here."""
        return self.machine.outside(self.home) / name

    @property
    def release(self) -> str:
        """The name of the release that is current."""
        return self.file("current").readlink().name

    def values(self) -> dict[str, str]:
        """Return what render.conf keeps."""
        lines = self.file("render.conf").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    # --- Scripts ------------------------------------------------------------------------------
    def command(self, name: str, *arguments: str) -> list[str]:
        """Return the call of one of the clone's scripts."""
        script = self.clone / "example_project" / "scripts" / name
        return [str(script), "--home", str(self.home), *arguments]

    def own(self, name: str, *arguments: str) -> list[str]:
        """Return the call of one of the installed scripts."""
        script = self.home / "current" / "example_project" / "scripts" / name
        return [str(script), *arguments]

    def start_deploy(self, *arguments: str) -> Started:
        """Begin to deploy."""
        command = self.command("deploy_ai.sh", "--yes", *self.options, *arguments)
        return self.machine.start(*command, **self.variables)

    def deploy(self, *arguments: str) -> tuple[int, str]:
        """Deploy; return exit code and output."""
        with self.start_deploy(*arguments) as started:
            return started.wait(1200), started.output()

    def verify(self, script: str, *only: str, from_clone: bool = False) -> Verdict:
        """Run a verification, or some of its checks and what they need."""
        path = self.file("results.json")
        path.unlink(missing_ok=True)
        given = ["--json", str(self.home / path.name), *(["--only", *only] if only else [])]
        began = time.monotonic()
        call = self.command if from_clone else self.own
        done = self.machine.run(*call(script, *given), **DAY)
        found = Verdict(script, done.returncode, done.stdout, time.monotonic() - began)
        if path.exists():
            told = json.loads(path.read_text())["checks"]
            found.checks = {each["id"]: (each["status"], each["text"]) for each in told}
            slow = sorted(told, key=lambda each: -float(each["seconds"]))[:3]
            named = ", ".join(f"{each['id']} {each['seconds']:.0f} s" for each in slow)
            print(f"{script}: {found.counts}, {found.seconds:.0f} s; {named}", flush=True)
        return found

    def ids(self, script: str) -> list[str]:
        """Return the ids of its checks."""
        told = self.machine.run(*self.own(script, "--list")).stdout
        return [line.split()[0] for line in told.splitlines() if line and not line[0].isspace()]

    def manage(self, *command: str) -> str:
        """Run a management command, which has to succeed."""
        done = self.machine.run(*self.own("manage.sh"), *command)
        if done.returncode:
            raise SystemExit(f"manage.sh {command[0]}: {done.stdout[-2000:]}")
        return done.stdout

    # --- Processes ----------------------------------------------------------------------------
    def control(self, *command: str) -> str:
        """Run supervisorctl; its exit code is not looked at, since "status" has several."""
        # Of any packages: what was killed before its end has no current release.
        venv = next(each for each in self.file("venvs").iterdir() if each.name[0].isdigit())
        program = self.home / "venvs" / venv.name / "bin" / "supervisorctl"
        conf = self.home / "conf" / "supervisord.conf"
        return self.machine.run(program, "-c", conf, *command).stdout

    def states(self) -> dict[str, tuple[str, int]]:
        """Return state and process id of each program."""
        told = self.control("status")
        found = re.findall(r"^(\S+)\s+([A-Z]+)(?:\s+pid (\d+))?", told, re.MULTILINE)
        return {name: (state, int(pid or 0)) for name, state, pid in found}

    def start(self, *names: str) -> None:
        """Start programs, and wait until all run."""
        self.control("start", *names)
        self.wait()

    def wait(self) -> None:
        """Wait until all programs run, and the site answers."""
        wait_until(
            lambda: {state for state, _ in self.states().values()} == {"RUNNING"},
            f"all programs run: {self.states()}",
        )
        wait_until(self.answers, "the site answers at /health/ready/")

    def answers(self) -> bool:
        """Is the site ready, as its own check of health says, web and streams both?"""
        live = self.home / "current" / "example_project" / "deploy" / "live.py"
        python = self.home / "current" / "venv" / "bin" / "python"
        script = " && ".join(f"{python} {live} {name} --home {self.home}" for name in SERVERS)
        return self.machine.run("bash", "-c", script).returncode == 0

    def reload(self) -> None:
        """Let the servers take up what was edited, and wait until no old process is left.

        In one script, since process ids are those of the site's machine.
        """
        ctl = f"{self.home}/current/venv/bin/supervisorctl -c {self.home}/conf/supervisord.conf"
        done = self.machine.run("bash", "-c", _RELOAD.format(ctl=ctl, names=" ".join(SERVERS)))
        if done.returncode:
            raise SystemExit(f"web and streams did not take up the change: {done.stdout}")
        self.wait()

    def stop(self) -> None:
        """End everything, supervisord last."""
        pid = self.file("run/supervisord.pid")
        if pid.exists():
            self.control("shutdown")
            wait_until(lambda: not pid.exists(), "supervisord has ended")


_RELOAD = """
declare -A old
for name in {names}; do
    pid="$({ctl} pid $name)"
    old[$name]="$(cat /proc/$pid/task/*/children)"
    {ctl} signal HUP $name
done
for try in $(seq 300); do
    left=
    for pid in ${{old[@]}}; do
        grep -qs resource_tracker /proc/$pid/cmdline || [[ ! -d /proc/$pid ]] || left+=" $pid"
    done
    [[ -z "$left" ]] && exit 0
    sleep 0.3
done
echo "still there:$left"; {ctl} status; exit 1
"""


def clone_to(machine: Machine, to: Path) -> None:
    """Give the user a clone of the repository, with what is not committed yet."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "clone"
        # Without one nothing could look into its history.
        command = ["git", "clone", "--quiet", "--no-hardlinks", f"file://{ROOT}", str(folder)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{ROOT} cannot be cloned: {done.stderr.strip()}")
        present = {path.relative_to(ROOT) for path in committed_files()}
        for name in present:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
        for path in folder.rglob("*"):
            inside = path.relative_to(folder)
            if path.is_file() and inside.parts[0] != ".git" and inside not in present:
                path.unlink()
        machine.take(folder, to)
