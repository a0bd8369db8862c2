"""docs/reference/checks.md has a paragraph for every check, where the hints point to."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import django_obc_ai
from django_obc_ai.checks.messages import DOCS as URL
from django_obc_ai.checks.messages import error
from tests.docs.markdown import DOCS, headings, names, section, slug_of, table_rows

PAGE = DOCS / "reference" / "checks.md"
_ID = re.compile(r"[EW]\d{3}")


def _emitted() -> set[str]:
    """Every string of the package's code that is a check id, docstrings and comments left out."""
    found = set()
    for path in Path(django_obc_ai.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found |= {node.value} if _ID.fullmatch(node.value) else set()
    return found


def _documented() -> list[str]:
    return [heading for heading in headings(PAGE, 3) if _ID.fullmatch(heading)]


def test_every_id_that_the_code_emits_has_a_heading_and_no_other() -> None:
    documented = _documented()
    assert documented == sorted(documented)
    assert len(documented) == len(set(documented))
    assert set(documented) == _emitted()


def test_the_table_lists_them_in_the_same_order() -> None:
    rows = table_rows(PAGE.read_text().partition("## Errors")[0])
    listed = [names(row[0])[0].removeprefix("django_obc_ai.") for row in rows]
    assert listed == _documented()


@pytest.mark.parametrize("number", _documented())
def test_hints_point_to_the_paragraph(number: str) -> None:
    page, _, anchor = (error(number, "", "").hint or "").partition("#")
    assert page.endswith(URL)
    assert URL.endswith("/" + PAGE.relative_to(DOCS).with_suffix(".html").as_posix())
    assert anchor == slug_of(number)


@pytest.mark.parametrize("number", _documented())
def test_the_paragraph_says_what_is_wrong_and_what_to_do(number: str) -> None:
    text = section(PAGE, number).strip()
    assert text.startswith("**")
    assert "\nFix: " in text
