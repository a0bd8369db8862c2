"""Two pages have a paragraph for every check, where the hints point to."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import django_obc_ai
from django_obc_ai.checks.messages import deployment_warning, error
from tests.docs.markdown import DOCS, headings, names, section, slug_of, table_rows

PAGES = {
    DOCS / "reference" / "checks.md": error,
    DOCS / "reference" / "deployment-checks.md": deployment_warning,
}
_SITE = "https://django-obc-ai.readthedocs.io/en/latest/"
_ID = re.compile(r"[EW]\d{3}")


def _emitted() -> tuple[set[str], set[str]]:
    """Every string of the package's code that is a check id, docstrings and comments left out.

    First those that come with any ``check``, then those of ``check --deploy`` alone.
    """
    found, deployed = set(), set()
    for path in Path(django_obc_ai.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found |= {node.value} if _ID.fullmatch(node.value) else set()
            elif isinstance(node, ast.Call) and ast.unparse(node.func) == "deployment_warning":
                number = node.args[0]
                deployed |= {number.value} if isinstance(number, ast.Constant) else set()
    return found - deployed, deployed


def _documented(page: Path) -> list[str]:
    return [heading for heading in headings(page, 3) if _ID.fullmatch(heading)]


def test_every_id_that_the_code_emits_has_a_heading_and_no_other() -> None:
    for page, emitted in zip(PAGES, _emitted(), strict=True):
        documented = _documented(page)
        assert documented == sorted(documented)
        assert len(documented) == len(set(documented))
        assert set(documented) == emitted


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_table_lists_them_in_the_same_order(page: Path) -> None:
    rows = table_rows(re.split("(?m)^## ", page.read_text())[0])
    listed = [names(row[0])[0].removeprefix("django_obc_ai.") for row in rows]
    assert listed == _documented(page)
    is_deploy = [row[1] == "`check --deploy`" for row in rows]
    assert set(is_deploy) == {page.stem == "deployment-checks"}


EACH = [pytest.param(page, number, id=number) for page in PAGES for number in _documented(page)]


@pytest.mark.parametrize(("page", "number"), EACH)
def test_hints_point_to_the_paragraph(page: Path, number: str) -> None:
    address, _, anchor = (PAGES[page](number, "", "").hint or "").partition("#")
    where = page.relative_to(DOCS).with_suffix(".html").as_posix()
    assert address.endswith(_SITE + where)
    assert anchor == slug_of(number)


@pytest.mark.parametrize(("page", "number"), EACH)
def test_the_paragraph_says_what_is_wrong_and_what_to_do(page: Path, number: str) -> None:
    text = section(page, number).strip()
    assert text.startswith("**")
    assert "\nFix: " in text
