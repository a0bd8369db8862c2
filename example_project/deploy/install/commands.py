"""Programs that installing runs: told in a log, ended with this process, explained if they fail."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from deploy.backups.problems import Problem

#: What a process of the site may inherit; the rest it is told by .env.
_KEPT = (
    "PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "http_proxy",
    "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE",
    "SSL_CERT_DIR",
)  # fmt: skip
_LAST_LINES = 20
_SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG


def environment(environ: Mapping[str, str], **more: str) -> dict[str, str]:
    """Return what a process of the site starts with: no secret, and nothing of a shell's whims."""
    found = {k: v for k, v in environ.items() if k in _KEPT or k.startswith("LC_")}
    return {"PATH": os.defpath, **found, **more}


def _die_with_parent() -> None:
    """What this process has begun is not to go on beside the run that resumes it."""
    ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)


def run(
    command: Sequence[object],
    *,
    what: str,
    env: Mapping[str, str],
    log: Path,
    codes: Sequence[int] = (0,),
    umask: int = -1,
    hint: str = "",
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end and return it, with output and errors as one text.

    Args:
        command: Program and arguments.
        what: What it does, for the message.
        env: Its environment.
        log: Where its output is added.
        codes: Exit codes that are no failure.
        umask: Of the files that it makes, if not the present one.
        hint: What to do if it fails.

    Raises:
        Problem: It failed; its last lines are in the message.
    """
    words = [str(each) for each in command]
    try:
        with subprocess.Popen(  # noqa: S603 - a list, no shell
            words, env=dict(env), cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace", umask=umask,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - there are no threads here
        ) as process:  # fmt: skip
            try:
                told, _ = process.communicate()
            except BaseException:
                process.terminate()
                raise
    except OSError as error:
        raise Problem(f"{what}: {words[0]} cannot be run: {error.strerror}. {hint}") from None
    with log.open("a", encoding="utf-8") as file:
        file.write(f"--- {what}: {' '.join(words)}\n{told}")
    if process.returncode not in codes:
        last = "\n".join(f"   | {line}" for line in told.strip().splitlines()[-_LAST_LINES:])
        said = f", and said:\n{last}\n   All of it is in {log}." if last else "."
        raise Problem(f"{what} failed with code {process.returncode}{said} {hint}".rstrip())
    return subprocess.CompletedProcess(words, process.returncode, told)
