"""Whether the site runs, by what can be seen from outside of it."""

from __future__ import annotations

import os
from pathlib import Path

#: What the command lines hold of those whose process ids are in run/.
_PROGRAMS = {"web": b"gunicorn", "beat": b"\0beat\0"}


def process_of(file: Path) -> int | None:
    """Return the site's process whose id is in a file of run/; None if it has ended.

    After a power cut the number may be anybody's. A process whose environment is closed to this
    user is taken for the site's.
    """
    try:
        number = int(file.read_text().split()[0])
        if _PROGRAMS.get(file.stem, b"") not in Path(f"/proc/{number}/cmdline").read_bytes():
            return None
    except (OSError, ValueError, IndexError):
        return None
    try:
        variables = Path(f"/proc/{number}/environ").read_bytes().split(b"\0")
    except OSError:
        return number
    home = [each for each in variables if each.startswith(b"OBC_SITE_VAR=")]
    if home and os.path.realpath(home[-1].partition(b"=")[2]) != os.fsencode(
        os.path.realpath(file.parent.parent)
    ):
        return None
    return number


def forget_ended(file: Path) -> None:
    """Remove a file of run/ that names no process of the site: servers refuse to start with it."""
    if process_of(file) is None:
        file.unlink(missing_ok=True)


def living(home: Path) -> list[str]:
    """Return the programs whose process id is in a file of the folder run/, and lives."""
    found = []
    for file in sorted((home / "run").glob("*.pid")):
        if file.stem in ("supervisord", "nginx"):  # they may live while the site's programs do not
            continue
        if (number := process_of(file)) is not None:
            found.append(f"{file.stem} (process {number})")
    return found
