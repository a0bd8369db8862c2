"""Refuse what belongs to one machine: its paths, its package hosts, its lock files, its keys.

And the marks that a merge leaves where it does not know which side is meant.

    python tests/check_files.py [FILE ...]     without files: all that git would commit

Used by tox, the pre-commit hook and tests/test_packaging.py.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK_FILES = {
    "Pipfile.lock", "package-lock.json", "pdm.lock", "poetry.lock", "pylock.toml", "uv.lock",
    "yarn.lock",
}  # fmt: skip
# Written in pieces so that this file passes its own check.
FORBIDDEN = {
    "a path of one machine": re.compile(
        r"(?<![\w.$}*-])/(?:ro" r"ot|wo" r"rk|ho" r"me/\w+|Us" r"ers/\w+|opt/wh" r"eels)(?![\w-])"
    ),
    "a package host": re.compile(
        r"py" r"pi\.org/simple|files\.python" r"hosted|registry\.np" r"mjs|deb\.deb" r"ian\.org"
        r"|--(?:extra-)?index-u" r"rl"
    ),
    "a key": re.compile(
        r"\bAI" r"za[0-9A-Za-z_-]{35}\b|\bsk" r"-[A-Za-z0-9_-]{32,}|BEGIN (?:\w+ )?PRIV" r"ATE KEY"
    ),
    "a mark of a merge": re.compile(r"^(?:<{7}|\|{7}|>{7})(?: |$)|^={7}$"),
}  # fmt: skip


def committed_files() -> list[Path]:
    """What is tracked or new and not ignored; without git, what looks like it."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if result.returncode == 0:
        paths = [ROOT / name for name in result.stdout.split("\0") if name]
    else:
        made = {"__pycache__", "_build", "build", "dist", "var"}
        paths = [
            path
            for path in ROOT.rglob("*")
            if not any(p in made or p.startswith(".") for p in path.relative_to(ROOT).parts[:-1])
        ]
    return [path for path in paths if path.is_file()]


def faults(paths: Iterable[Path]) -> list[str]:
    """Say what is wrong, a line each: file, line number, reason (never the text itself)."""
    found = []
    for path in paths:
        if path.name in LOCK_FILES:
            found.append(f"{path}: a lock file names the index of whoever made it")
            continue
        content = path.read_bytes()
        if b"\0" in content:
            continue
        for number, line in enumerate(content.decode(errors="replace").splitlines(), start=1):
            found += [
                f"{path}:{number}: {what}"
                for what, pattern in FORBIDDEN.items()
                if pattern.search(line)
            ]
    return found


def main() -> int:
    """Check the files named on the command line, or all."""
    paths = [Path(name) for name in sys.argv[1:]] or committed_files()
    found = faults(paths)
    print("\n".join(found) if found else f"{len(paths)} files hold nothing of one machine.")
    return bool(found)


if __name__ == "__main__":
    raise SystemExit(main())
