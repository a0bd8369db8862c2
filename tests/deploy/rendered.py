"""The kit's files, filled by its own command."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.subprocesses import ROOT

DEPLOY = ROOT / "example_project" / "deploy"
RENDER = DEPLOY / "render.py"
HOSTS = ("--host", "ai.example.org,www.example.org", "--host", "127.0.0.1")
PORTS = ("--http-port", "18080", "--https-port", "18443")


def render(home: Path | str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, RENDER, "--home", str(home), *arguments], capture_output=True, text=True
    )


@contextmanager
def filled() -> Iterator[Path]:
    """Fill all, in a folder whose path has a space and is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="obc-", dir="/tmp") as folder:
        found = Path(folder) / "a site"
        done = render(found, *HOSTS, *PORTS)
        assert done.returncode == 0, done.stderr
        for name in ("tls", "static", "acme"):
            (found / name).mkdir()
        yield found


def text(home: Path, name: str) -> str:
    return (home / "conf" / name).read_text(encoding="utf-8")
