"""Running Python and pip in processes of their own, as a user of the package would."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path

import django_obc_ai

ROOT = Path(__file__).resolve().parent.parent
#: Where the package under test lies: site-packages, or the clone in a developer's shell.
PACKAGE_HOME = Path(django_obc_ai.__file__).resolve().parent.parent


def run_python(
    arguments: Sequence[str],
    *,
    cwd: Path,
    path: Sequence[Path] = (),
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run this interpreter; `path` is put in front of the modules it finds.

    Output and errors come back as one text, in ``stdout``.
    """
    found = [*path]
    if Path(sysconfig.get_path("purelib")).resolve() != PACKAGE_HOME:
        found.append(PACKAGE_HOME)
    inherited = {name: v for name, v in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={
            **inherited,
            "PYTHONPATH": os.pathsep.join(str(each) for each in found),
            "NO_COLOR": "1",
            **(environment or {}),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
    )


def pip_install(source: Path, target: Path) -> None:
    """Build a project and put it, without its dependencies, into a folder of its own."""
    # Warnings are errors in our own code, not in pip and in build backends.
    environment = {"PYTHONWARNINGS": "", "PYTHONDEVMODE": "", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    command = ["-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target), str(source)]
    result = run_python(command, cwd=target, environment=environment)
    assert result.returncode == 0, result.stdout
