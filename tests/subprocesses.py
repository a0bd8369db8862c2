"""Running Python and pip in processes of their own, as a user of the package would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

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
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**python_environment(path), **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
    )


def python_environment(path: Sequence[Path] = ()) -> dict[str, str]:
    """Return the variables with which a Python finds what `run_python` finds."""
    found = [*path]
    if Path(sysconfig.get_path("purelib")).resolve() != PACKAGE_HOME:
        found.append(PACKAGE_HOME)
    inherited = {name: v for name, v in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    own = {"PYTHONPATH": os.pathsep.join(str(each) for each in found), "NO_COLOR": "1"}
    return {**inherited, **own}


def run_together(module: str, given: Mapping[str, Any], *, count: int = 4) -> list[Any]:
    """Run a program of the tests in several processes, which all begin at the same time.

    Args:
        module: Calls `tests.in_process.wait_for_the_others`, and prints a list as JSON at its end.
        given: Its argument.
        count: How many processes.

    Returns:
        The items of all lists.
    """
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", module, json.dumps(given)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(count)
    ]
    found: list[Any] = []
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in processes:
            output, _ = process.communicate(timeout=120)
            assert process.returncode == 0
            found += json.loads(output)
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    return found


def pip_install(source: Path, target: Path) -> None:
    """Build a project and put it, without its dependencies, into a folder of its own."""
    # Warnings are errors in our own code, not in pip and in build backends.
    environment = {"PYTHONWARNINGS": "", "PYTHONDEVMODE": "", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    command = ["-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target), str(source)]
    result = run_python(command, cwd=target, environment=environment)
    assert result.returncode == 0, result.stdout
