"""An installation of the example on SQLite."""

from __future__ import annotations

import importlib
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.deploy.kit import EXAMPLE, SPENT, Kit


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with every table and one operation that cost money."""
    kit = Kit(home=tmp_path_factory.mktemp("migrated"))
    kit.manage("migrate", "-v0")
    kit.manage(
        "shell",
        "-c",
        "from decimal import Decimal; from django_obc_ai.models import AIOperation;"
        f" AIOperation.objects.create(operation_type='chat', success=True,"
        f" cost_usd=Decimal('{SPENT}') / 10**9)",
    )
    return kit.home / "db.sqlite3"


@pytest.fixture
def kit(tmp_path: Path, migrated: Path) -> Kit:
    """An installation, in a folder whose name has a space."""
    home = tmp_path / "the site"
    home.mkdir()
    with (
        closing(sqlite3.connect(migrated)) as old,
        closing(sqlite3.connect(home / "db.sqlite3")) as new,
    ):
        old.backup(new)
        new.execute("PRAGMA journal_mode=WAL")
    return Kit(home=home)


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """The modules of deploy.install, which are no part of what is tested elsewhere."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    names = (
        "certificate", "commands", "decisions", "env_file", "filling", "machine", "packages",
        "processes", "releases", "services", "starting", "steps",
    )  # fmt: skip
    found = {name: importlib.import_module(f"deploy.install.{name}") for name in names}
    found["main"] = importlib.import_module("deploy.install.__main__")
    found["problems"] = importlib.import_module("deploy.backups.problems")
    yield SimpleNamespace(**found)
    for name in [each for each in sys.modules if each.split(".")[0] == "deploy"]:
        del sys.modules[name]
