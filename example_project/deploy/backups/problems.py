"""What ends a script of the kit: a message that says what, where and what to do, and a code."""

from __future__ import annotations

import errno
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Problem(Exception):
    """It could not be done; nothing that was there has changed."""

    code = 1


class Refused(Problem):
    """It could be done, and would destroy something: `--force` is for that."""

    code = 3


def no_room(folder: Path, why: object) -> Problem:
    """Return what to say when a disk, a quota or a limit of file sizes is full."""
    free = shutil.disk_usage(folder).free / 1e6
    return Problem(
        f"No room to write in {folder}: {why}. {free:,.1f} MB are free there; make room, or look at"
        " the quota and at `ulimit -f`."
    )


def say(text: str) -> None:
    """Print a line at once: cron's mail and a terminal show the steps in order."""
    print(text, flush=True)


def _end(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def run(main: Callable[[], int | None]) -> None:
    """Run a program; a `Problem` becomes its message and its exit code.

    SIGTERM and SIGHUP raise, so that what was begun is cleaned up.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    try:
        raise SystemExit(main() or 0)
    except Problem as problem:
        sys.stdout.flush()
        print(f"error: {problem}", file=sys.stderr)
        raise SystemExit(problem.code) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
