"""The quickstart's project, for the pages that go on with it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.docs.execute import Page
from tests.docs.markdown import DOCS

QUICKSTART = DOCS / "tutorial" / "quickstart.md"


@pytest.fixture(scope="session")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which the quickstart was followed to its end."""
    folder = tmp_path_factory.mktemp("quickstart")
    Page(QUICKSTART, folder, settings="mysite.settings").follow()
    return folder


@pytest.fixture
def project(quickstart: Path, tmp_path: Path) -> Path:
    """A copy of that project for one test."""
    return shutil.copytree(quickstart, tmp_path / "project")
