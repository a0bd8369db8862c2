"""What systemd keeps of the words of the site's processes, where its user may read it."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Mapping
from typing import cast

from deploy.verify.leaks import Leak, scan_stream
from deploy.verify.processes import UNREAD

UNITS = "obc-site-*"


def scan_journal(
    secrets: Mapping[str, bytes], *, patterns: bool, since: float | None = None
) -> tuple[list[Leak], str]:
    """Look into the journal of the site's units.

    Args:
        secrets: What to look for.
        patterns: Whether to look for what secrets of others look like.
        since: Seconds since 1970; None for all that is kept.

    Returns:
        What was found, and why the journal was not read, "" if it was.
    """
    command = ["journalctl", "--unit", UNITS, "--output", "cat", "--no-pager", "--quiet"]
    if since is not None:
        command += ["--since", f"@{int(since)}"]
    try:
        with subprocess.Popen(  # noqa: S603 - our own arguments
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process:
            told = cast("io.BufferedReader", process.stdout)
            is_empty = not told.peek(1)
            where = f"the journal of {UNITS}"
            found = list(scan_stream(told, where, secrets, patterns=patterns))
    except OSError:
        return [], f"it was not read, since there is no journalctl: {UNREAD}"
    if is_empty or process.returncode:
        return found, f"it was not read, since nothing of it is shown: {UNREAD}"
    return found, ""
