"""What a machine has to have: programs, a Python, free ports."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

OLDEST = (3, 11)
#: Where administrators' programs are; an ordinary user's PATH may lack them.
_SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")
REDIS = ("redis-server", "valkey-server")


def find(*names: str) -> str | None:
    """Return the path of the first of these programs that is there."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *_SBIN])
    return next((found for name in names if (found := shutil.which(name, path=path))), None)


def postgres_folder(major: str | None = None) -> Path | None:
    """Return the folder of the newest PostgreSQL's programs, or of one version's.

    OBC_SITE_PG_BIN alone is looked at if it is set, as the backups do.
    """
    if own := os.environ.get("OBC_SITE_PG_BIN"):
        folders = [Path(own)]
    else:
        folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_number, reverse=True)
        folders += [Path(found).parent] if (found := find("initdb")) else []
    for folder in folders:
        if not all(os.access(folder / name, os.X_OK) for name in ("postgres", "initdb")):
            continue
        if major is None or _version(folder) == major:
            return folder
    return None


def _number(folder: Path) -> int:
    name = folder.parent.name
    return int(name) if name.isdecimal() else 0


def _version(folder: Path) -> str | None:
    command = [str(folder / "postgres"), "--version"]
    told = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    found = re.search(r"(\d+)", told.stdout)
    return found[1] if found else None


def missing(settings: Mapping[str, str], *, needs_nginx: bool) -> list[tuple[str, str]]:
    """Return what is not there, and Debian's packages that bring it.

    Args:
        settings: What is configured so far; with a REDIS_URL nobody needs the program.
        needs_nginx: Whether this installation runs its own.
    """
    found = []
    if find_spec("venv") is None or find_spec("ensurepip") is None:
        found.append(("Python's venv and ensurepip", "python3-venv"))
    if sys.version_info < OLDEST:
        found.append((f"Python {OLDEST[0]}.{OLDEST[1]} or later", "python3"))
    if needs_nginx and find("nginx") is None:
        found.append(("nginx", "nginx"))
    if find("openssl") is None:
        found.append(("openssl", "openssl"))
    if not settings.get("REDIS_URL", "").strip() and find(*REDIS) is None:
        found.append(("redis-server or valkey-server (or a REDIS_URL)", "redis-server"))
    return found


def apt_line(packages: list[str]) -> str:
    """Return the command that brings packages."""
    return f"sudo apt-get install {' '.join(packages)}"


def port_fault(port: int, address: str = "") -> str | None:
    """Say why nobody can listen at a port; None: somebody can."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except PermissionError:
            return "it is closed to ordinary users"
        except OSError as error:
            return (error.strerror or str(error)).lower()
    return None


def free_port(first: int) -> int:
    """Return the first free port of a hundred, on the loopback address."""
    for port in range(first, first + 100):
        if port_fault(port, "127.0.0.1") is None:
            return port
    return first  # whoever starts there says what is wrong
