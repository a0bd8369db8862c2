"""The quickstart's project, for the pages that go on with it."""

from __future__ import annotations

import fcntl
import shutil
from pathlib import Path

import pytest

from tests.docs.execute import Page
from tests.docs.markdown import DOCS

QUICKSTART = DOCS / "tutorial" / "quickstart.md"


@pytest.fixture(scope="session")
def quickstart(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A project in which the quickstart was followed to its end, once for all processes."""
    is_alone = not hasattr(request.config, "workerinput")  # of pytest-xdist
    base = tmp_path_factory.getbasetemp()
    home = base if is_alone else base.parent
    folder, done = home / "quickstart", home / "quickstart.done"
    with (home / "quickstart.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            Page(QUICKSTART, folder, settings="mysite.settings").follow()
            done.touch()
    return folder


@pytest.fixture
def project(quickstart: Path, tmp_path: Path) -> Path:
    """A copy of that project for one test."""
    return shutil.copytree(quickstart, tmp_path / "project")
