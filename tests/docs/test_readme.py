"""The README's commands exist, its example runs, and it promises nothing that is not there."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.docs.execute import Page
from tests.docs.markdown import DOCS, names, section, table_rows
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


def test_files_that_the_readme_names_between_backticks_exist() -> None:
    for name in names(README.read_text()):
        if name.startswith("./"):
            assert (ROOT / name).exists(), name


def test_each_guarantee_names_a_proof_that_the_page_on_guarantees_names_too() -> None:
    rows = table_rows(section(README, "What it guarantees"))
    assert len(rows) >= 8
    whole = (DOCS / "explanation" / "guarantees.md").read_text()
    for claim, proofs in rows:
        results = re.findall(r"\]\(docs/acceptance/([\w-]+)\.md\)", proofs)
        assert results or "docs/explanation/" in proofs, claim
        for result in results:
            assert (DOCS / "acceptance" / f"{result}.md").exists(), result
            assert f"../acceptance/{result}.md" in whole, result


def test_every_page_is_linked_but_results_and_what_is_included() -> None:
    linked = set(re.findall(r"\]\((docs/[^)#]+\.md)", README.read_text()))
    parts = ("tutorial", "howto", "reference", "explanation")
    pages = {f"docs/{part}/{page.name}" for part in parts for page in (DOCS / part).glob("*.md")}
    assert pages | {"docs/questions.md"} <= linked
