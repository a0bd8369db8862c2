"""The page on signals: all of them, with the arguments that the code sends, and what errors do."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import django_obc_ai
from django_obc_ai import signals
from tests.docs.execute import Page
from tests.docs.markdown import DOCS, names, table_rows

PAGE = DOCS / "reference" / "signals.md"
ROWS = {names(row[0])[0]: row for row in table_rows(PAGE.read_text())}
PUBLIC = {name for name, each in vars(signals).items() if isinstance(each, signals.Signal)}


def sent() -> Iterator[tuple[str, str, set[str]]]:
    """Yield each signal that the code sends, the name of what sends it, and the arguments."""
    for path in Path(django_obc_ai.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            arguments = {each.arg for each in node.keywords if each.arg}
            if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
                yield node.func.value.id, node.func.attr, arguments
            for first in node.args[:1]:
                if isinstance(first, ast.Name):
                    name = getattr(node.func, "id", None) or getattr(node.func, "attr", "")
                    yield first.id, name, arguments


def test_every_signal_has_a_row_and_no_other_has() -> None:
    assert set(ROWS) == PUBLIC


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_the_arguments_are_those_that_the_code_sends(name: str) -> None:
    found = [
        each for each in sent() if each[0] == name and each[1] in ("tell", "send", "send_robust")
    ]
    assert found
    told = {each for each in names(ROWS[name][2]) if each.islower()}
    assert all(arguments == told for _, _, arguments in found)
    # `send` lets an error through, everything else catches and logs it.
    is_logged = all(how != "send" for _, how, _ in found)
    assert ("logged" in ROWS[name][3]) == is_logged


def test_the_example_runs(project: Path) -> None:
    Page(PAGE, project, settings="mysite.settings").follow()
    assert "budget_threshold_reached" in (project / "clinics" / "receivers.py").read_text()
