"""Who may read the files of the installation."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from deploy.verify.checks import Failed, Suite
from deploy.verify.context import Context

OTHERS = stat.S_IRWXO
GROUP_AND_OTHERS = stat.S_IRWXG | OTHERS
#: Folders that others do not enter: sockets, backups, what people asked, who paid what.
CLOSED = ("run", "backups", "log", "spool", "vectors", "postgres", "redis")


def add(suite: Suite) -> None:
    """Add the checks."""
    suite.check("file-modes", "Secrets are closed to other users of the machine")(file_modes)


def file_modes(context: Context) -> str:
    """Look at the mode of each file that holds a secret, and of folders that do."""
    seen, wrong = 0, []
    for path, forbidden in _watched(context):
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except FileNotFoundError:
            continue
        except PermissionError:
            seen += 1  # in a folder that is closed to the site's user, too, as /etc/letsencrypt
            continue
        seen += 1
        if mode & forbidden:
            right = f"{mode & ~forbidden:o}"
            wrong.append(f"{path} has the mode {mode:o}: chmod {right} '{path}'")
    if not (context.home / ".env").exists() and not seen:
        raise Failed(f"{context.home} holds none of the files that are looked at")
    if wrong:
        raise Failed(f"others can read what they may not: {'; '.join(wrong)}")
    return f"{seen} files and folders are closed to others"


def _watched(context: Context) -> Iterator[tuple[Path, int]]:
    home = context.home
    yield home / ".env", GROUP_AND_OTHERS
    for path in sorted(home.glob(".env.*")):  # copies that editors and people leave
        yield path, GROUP_AND_OTHERS
    yield Path(context.values.get("certificate_key", home / "tls" / "key.pem")), OTHERS
    if home.stat().st_mode & stat.S_IXOTH == 0:
        return  # nobody else gets to what lies below
    for name in CLOSED:
        yield home / name, OTHERS
    for path in sorted(home.glob("db.sqlite3*")):
        yield path, OTHERS
    for path in sorted((home / "conf").glob("*.conf")):
        if _holds_password(path):
            yield path, OTHERS


def _holds_password(path: Path) -> bool:
    """Is it a configuration with a password, as Redis has it?"""
    if not os.access(path, os.R_OK):
        return False
    words = ("requirepass", "masterauth", "password")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return any(line.split(maxsplit=1)[0] in words for line in lines if line.strip())
