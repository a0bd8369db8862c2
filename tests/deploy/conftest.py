"""An installation of the example on SQLite."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.deploy.kit import SPENT, Kit


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
