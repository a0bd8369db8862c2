"""The file ``.env``: names and values, a line each, as systemd and Docker read them, too.

python deploy/dotenv.py NAME [FILE]    print a value as the site reads it, "" if there is none

FILE is .env of the installation folder (OBC_SITE_VAR) if it is not given.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

_NAME = re.compile(r"[A-Z][A-Z0-9_]*")


def read_file(path: Path) -> tuple[dict[str, str], list[str]]:
    """Return the variables of a file and what is wrong with it; a missing file holds none.

    Nothing is expanded and nothing escaped: a value is what stands between "=" and the end of the
    line, without the quotation marks around it. Later lines win.
    """
    try:
        text = path.read_text(encoding="utf-8")
        mode = path.stat().st_mode
    except FileNotFoundError:
        return {}, []
    except (OSError, UnicodeError) as error:
        what = getattr(error, "strerror", None) or "it is not UTF-8"
        return {}, [f".env: {path} cannot be read: {what}."]
    found, faults = {}, []
    if mode & 0o077:
        faults.append(f".env: others can read {path}, which holds secrets. Run: chmod 600 '{path}'")
    for number, line in enumerate(text.splitlines(), start=1):
        if not (line := line.strip()) or line.startswith("#"):
            continue
        name, is_given, value = line.partition("=")
        if not is_given or not _NAME.fullmatch(name):
            # The line is not shown: it may be the second half of a secret.
            faults.append(f".env: line {number} is not NAME=value; write it so, without spaces.")
            continue
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        found[name] = value
    return found, faults


def main() -> int:
    """Print the value of a variable of the file."""
    if not 1 < len(sys.argv) < 4:
        print(__doc__, file=sys.stderr)
        return 2
    path = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(os.environ["OBC_SITE_VAR"], ".env")
    print(read_file(path)[0].get(sys.argv[1], ""))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
