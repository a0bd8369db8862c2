"""Enabling the app loads nothing heavy; the figures are tests/acceptance/startup.py's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any


def probe(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.startup_probe", *arguments]
    # Coverage that follows subprocesses would be measured, too.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_")}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return dict(json.loads(done.stdout))


def test_setup_loads_no_sdk_and_no_numpy() -> None:
    # tests.testapp declares indexes, so declaring them is part of what is measured.
    assert probe()["loaded"] == []


def test_setup_adds_less_than_ten_mebibytes() -> None:
    assert probe()["kib"] - probe("--without")["kib"] < 10 * 1024


def test_importing_the_package_loads_no_django() -> None:
    code = "import sys, django_obc_ai; print('django' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "False"]
