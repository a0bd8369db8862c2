"""A separately installed distribution brings a backend of each family, by settings alone."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.subprocesses import ROOT, pip_install, run_python


@pytest.fixture(scope="session")
def backends(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the backend package is installed into."""
    target = tmp_path_factory.mktemp("backends")
    pip_install(ROOT / "tests" / "backend_package", target)
    return target


def _run(
    backends: Path, var: Path, *arguments: str, key: str = "test"
) -> subprocess.CompletedProcess[str]:
    return run_python(
        arguments,
        cwd=var,
        path=[backends, ROOT],
        environment={
            "DJANGO_SETTINGS_MODULE": "tests.backend_project.settings",
            "BACKEND_PROJECT_VAR": str(var),
            "PARROT_API_KEY": key,
        },
    )


def test_backends_of_another_distribution_pass_the_contract_suites(
    backends: Path, tmp_path: Path
) -> None:
    result = _run(backends, tmp_path, "-m", "django", "test", "tests.backend_project.suites")
    assert result.returncode == 0, result.stdout
    assert int(re.search(r"Ran (\d+) tests", result.stdout)[1]) > 40
    assert "skipped" not in result.stdout


def test_settings_alone_enable_them(backends: Path, tmp_path: Path) -> None:
    result = _run(backends, tmp_path, "-m", "tests.backend_project.tour")
    assert result.returncode == 0, result.stdout
    assert json.loads(result.stdout.splitlines()[-1]) == {
        "embedded": 3,
        "found": ["Poblacion"],
        "text": "SAY IT ONCE MORE.",
        "error": None,
        "cost": "0.000012000",
        "spent": "0.000012000",
        "held": 0,
        "refused": "budget_exceeded",
        "held by the store": 3,
    }
    assert [file.suffix for file in (tmp_path / "vectors").iterdir()] == [".index"]


def test_a_missing_key_is_reported_by_the_checks(backends: Path, tmp_path: Path) -> None:
    result = _run(backends, tmp_path, "-m", "django", "check", key="")
    assert result.returncode != 0
    assert "django_obc_ai.E006" in result.stdout
