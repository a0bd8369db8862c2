"""Whether the site runs, by what can be seen from outside of it."""

from __future__ import annotations

import os
from pathlib import Path


def living(home: Path) -> list[str]:
    """Return the programs whose process id is in a file of the folder run/, and lives."""
    found = []
    for file in sorted((home / "run").glob("*.pid")):
        if file.stem in ("supervisord", "nginx"):  # they may live while the site's programs do not
            continue
        try:
            number = int(file.read_text().split()[0])
            os.kill(number, 0)
        except PermissionError:
            pass  # it lives, and is another user's
        except (OSError, ValueError, IndexError):
            continue
        found.append(f"{file.stem} (process {number})")
    return found
