"""The README's commands exist, its example runs, and it promises nothing that is not there."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

import django_obc_ai
from tests.docs.execute import Page
from tests.docs.markdown import names, section
from tests.subprocesses import ROOT

README = ROOT / "README.md"
COMMANDS = re.findall(r"^\| `(\./[\w./-]+)` \|", README.read_text(), re.MULTILINE)


def test_the_two_commands_are_named() -> None:
    assert COMMANDS == ["./example_project/scripts/demo.sh", "./tests/run.sh"]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_an_executable_script(command: str) -> None:
    path = ROOT / command
    assert os.access(path, os.X_OK)
    assert path.read_text().startswith("#!/usr/bin/env bash\n")


def test_the_example_runs_in_a_project(project: Path) -> None:
    (project / "clinics" / "ai_indexes.py").unlink()
    settings = project / "mysite" / "settings.py"
    settings.write_text(settings.read_text().replace('["django_obc_ai", "clinics"]', '["clinics"]'))
    # The quickstart's own view and answers stay; the README brings back the app and an index.
    assert Page(README, project, settings="mysite.settings").follow() == 5


def test_what_comes_later_is_not_there_yet() -> None:
    # When one of these arrives, the README has to say so.
    later = section(README, "What comes later")
    package = Path(django_obc_ai.__file__).parent
    for word, module in (("pgvector", "backends/vector_stores/pgvector.py"),):
        assert word in later
        assert not (package / module).exists(), f"{word} is there: move it in the README"


def test_files_that_the_readme_names_between_backticks_exist() -> None:
    for name in names(README.read_text()):
        if name.startswith("./"):
            assert (ROOT / name).exists(), name
