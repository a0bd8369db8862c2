"""Machines that the kit is tried on: a fresh Debian in a folder, or this machine; an ordinary user.

Part of deploy_kit.py. Where root makes them, the processes have a list of processes of their own,
so that whatever was started there ends with the trial.
"""

from __future__ import annotations

import os
import pwd
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

HERE = Path(__file__).resolve().parent
PACKAGES = (
    "ca-certificates", "python3", "python3-venv", "nginx", "postgresql", "redis-server", "openssl",
    "logrotate", "git",
)  # fmt: skip
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
USER = "atlas"
#: How this machine reaches a package index: not the project's business, but handed on.
_HANDED_ON = re.compile(
    r"PIP_\w+|SSL_CERT_(FILE|DIR)|(REQUESTS_CA|CURL_CA)_BUNDLE|\w+_proxy", re.IGNORECASE
)
#: Files and folders that settings name, and where a user's own settings of pip are.
_PATH = re.compile(r"(?<![\w/])/[\w.+/-]+")
_PIP_CONF = (".config/pip/pip.conf", ".pip/pip.conf")
_DEB = re.compile(r"^\s*(?:deb\s+(?:\[[^]]*\]\s*)?|URIs:\s*)(\S+)", re.MULTILINE)


def handed_on() -> dict[str, str]:
    """Return the variables by which pip finds what it installs."""
    return {name: value for name, value in os.environ.items() if _HANDED_ON.fullmatch(name)}


def pip_conf() -> str:
    """Return this user's own settings of pip; "" if there are none."""
    for name in _PIP_CONF:
        if (path := Path.home() / name).is_file():
            return path.read_text(encoding="utf-8")
    return ""


def named_paths() -> list[Path]:
    """Return files and folders that those settings need, such as certificates."""
    system = Path("/etc/pip.conf")
    text = "\n".join(handed_on().values()) + "\n" + pip_conf()
    text += system.read_text(encoding="utf-8") if system.is_file() else ""
    found = dict.fromkeys(Path(each) for each in _PATH.findall(text.replace("file://", " ")))
    # An index lies beside its files.
    found = dict.fromkeys(path.parent if path.name == "simple" else path for path in found)
    return [path for path in found if path.exists()]


def find(name: str) -> str | None:
    """Return a program; those of administrators lie outside of most people's PATH."""
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), PATH]))


class Started:
    """A command that runs, and what it has written."""

    def __init__(self, command: list[str]) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed at exit
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self._file, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.is_running():
            self.kill()
        self._file.close()

    def is_running(self) -> bool:
        return self._process.poll() is None

    def output(self) -> str:
        """Return what was written until now."""
        size = os.fstat(self._file.fileno()).st_size
        return os.pread(self._file.fileno(), size, 0).decode(errors="replace")

    def wait(self, seconds: float) -> int:
        """Wait for its end, and return its exit code."""
        return self._process.wait(seconds)

    def kill(self) -> None:
        """End it, and what it started in its group, as a lost power cord would."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@dataclass
class Machine:
    """Where commands run, as whom.

    Attributes:
        told: What it is, for the page.
        root: Where its files are, as seen from here; / for this machine.
        house: A folder that is the user's, as seen from there.
        enter: What stands before a command.
    """

    told: str
    root: Path
    house: Path
    enter: list[str] = field(default_factory=list)

    def outside(self, path: Path) -> Path:
        """Return where a path of that machine is, seen from here."""
        return self.root / path.relative_to("/")

    def command(self, *command: object, **variables: str) -> list[str]:
        """Return a command that runs there with nothing in its environment but what is told."""
        known = {
            "HOME": str(self.house), "PATH": PATH, "LANG": "C.UTF-8", **handed_on(), **variables,
        }  # fmt: skip
        given = [f"{name}={value}" for name, value in known.items()]
        # Nobody's folder but the user's own is taken for granted.
        inside = f"cd {shlex.quote(str(self.house))} && exec {shlex.join(map(str, command))}"
        return [*self.enter, "/usr/bin/env", "-i", *given, "/bin/bash", "-c", inside]

    def run(
        self, *command: object, seconds: float = 600, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; both outputs are in stdout.

        What it leaves running may hold its output: nobody waits for that.
        """
        with self.start(*command, **variables) as started:
            code = started.wait(seconds)
            return subprocess.CompletedProcess(command, code, started.output())

    def start(self, *command: object, **variables: str) -> Started:
        """Start a command in a group of processes of its own."""
        return Started(self.command(*command, **variables))

    def program(self, *command: object) -> str:
        """Return the first line that a program prints, such as its version."""
        lines = self.run(*command, seconds=60).stdout.strip().splitlines()
        return lines[0] if lines else "nothing"

    def take(self, folder: Path, to: Path) -> None:
        """Copy a folder of ours to the user's."""
        target = self.outside(to)
        shutil.copytree(folder, target, symlinks=True)
        if os.geteuid() == 0:
            owner = self.outside(self.house).stat()
            for path in (target, *target.rglob("*")):
                os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


@contextmanager
def fresh_debian(folder: Path) -> Iterator[Machine]:
    """Make a Debian with debootstrap in a folder, with a user who never logged in; root only."""
    root = folder / "debian"
    codename, mirror = _release(), _mirror()
    command = [
        "debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", codename, str(root),
        *([mirror] if mirror else []),
    ]  # fmt: skip
    # A package's server is not started: policy-rc.d says so, as in every container.
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    if done.returncode:
        raise SystemExit(f"debootstrap failed:\n{done.stdout[-2000:]}{done.stderr[-1000:]}")
    _hand_on_files(root)
    for command in (
        ["useradd", "--create-home", "--shell", "/bin/bash", USER],
        ["su", USER, "-c", 'echo "$HOME"'],
    ):
        done = subprocess.run(["chroot", str(root), *command], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{command[0]} failed there: {done.stderr}")
    house = Path(done.stdout.strip())
    version = (root / "etc/debian_version").read_text().strip()
    with _processes(_mounts(root)) as enter:
        enter += ["chroot", f"--userspec={USER}", str(root)]
        told = f"a fresh Debian {version} made by debootstrap"
        yield _give_pip_conf(Machine(told, root, house, enter))


@contextmanager
def this_machine(folder: Path) -> Iterator[Machine]:
    """Use this machine's own programs; as root become nobody in particular."""
    house = folder / "user"
    house.mkdir(mode=0o755)
    system = "this machine"
    for line in Path("/etc/os-release").read_text().splitlines():
        if line.startswith("PRETTY_NAME="):
            system = line.partition("=")[2].strip('"')
    if os.geteuid():
        yield _give_pip_conf(Machine(f"{system}, as it is", Path("/"), house))
        return
    user = pwd.getpwnam("nobody")
    folder.chmod(0o755)
    os.chown(house, user.pw_uid, user.pw_gid)
    become = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    with _processes("mount -t proc proc /proc") as enter:
        told = f"{system}, as the user nobody"
        yield _give_pip_conf(Machine(told, Path("/"), house, [*enter, *become]))


@contextmanager
def _processes(mounts: str) -> Iterator[list[str]]:
    """Have a list of processes, which all end; yield what enters it. Needs root.

    Where that is forbidden, as in some containers, it is done without.
    """
    script = f"set -e\n{mounts}\nexec {shlex.quote(sys.executable)} {HERE / '_kit_init.py'}"
    new = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
    with subprocess.Popen(
        [*new, "/bin/bash", "-c", script],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdin and process.stdout and process.stderr
        if process.stdout.readline().strip() != "ready":
            process.wait(60)
            if "chroot" in mounts or "dev" in mounts:
                raise SystemExit(f"The machine was not prepared: {process.stderr.read()}")
            yield []
            return
        try:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
            yield ["nsenter", f"--target={children.split()[0]}", "--mount", "--pid"]
        finally:
            process.stdin.close()
            process.wait(60)


def _mounts(root: Path) -> str:
    """Return commands that mount what programs expect; nobody else sees it."""
    quoted = shlex.quote(str(root))
    lines = [f"mount --rbind /dev {quoted}/dev", f"mount -t proc proc {quoted}/proc"]
    # Folders of packages, or of certificates, are read where they are.
    for path in filter(Path.is_dir, named_paths()):
        there = shlex.quote(str(root / path.relative_to("/")))
        lines.append(f"mkdir -p {there} && mount --rbind {shlex.quote(str(path))} {there}")
    return "\n".join(lines)


def _hand_on_files(root: Path) -> None:
    """Copy what says how this machine reaches others: names, pip's settings, certificates."""
    system = [Path("/etc/resolv.conf"), Path("/etc/hosts"), Path("/etc/pip.conf")]
    for path in [*system, *named_paths()]:
        if path.is_file():
            target = root / path.relative_to("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            shutil.copy(path, target)  # follows links
            target.chmod(0o644)


def _give_pip_conf(machine: Machine) -> Machine:
    """Hand this user's settings of pip on to that machine's."""
    if text := pip_conf():
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "pip"
            folder.mkdir()
            (folder / "pip.conf").write_text(text, encoding="utf-8")
            machine.run("mkdir", "-p", machine.house / ".config")
            machine.take(folder, machine.house / ".config/pip")
    return machine


def _release() -> str:
    text = Path("/etc/os-release").read_text()
    found = re.search(r"^VERSION_CODENAME=(\S+)", text, re.MULTILINE)
    return found[1] if found else "stable"


def _mirror() -> str | None:
    """Return where this machine gets its packages; None: debootstrap knows."""
    places = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    # The distribution's own come under its own name.
    places.sort(key=lambda path: path.stem not in ("debian", "ubuntu"))
    for path in places:
        if path.is_file() and (found := _DEB.search(path.read_text(errors="replace"))):
            return found[1]
    return None


@contextmanager
def scratch() -> Iterator[Path]:
    """Make a folder with a short path, for sockets; removed in the end."""
    folder = Path(tempfile.mkdtemp(prefix="obc-kit-", dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
