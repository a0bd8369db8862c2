"""The page on troubleshooting holds every error, in the words that the package really says."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import django_obc_ai
from tests.docs import provoked_calls, provoked_work
from tests.docs.markdown import DOCS, names, section, table_rows
from tests.docs.provoking import WAYS, all_ways

PAGE = DOCS / "howto" / "troubleshoot.md"
ERRORS = DOCS / "reference" / "errors.md"
FIVE = "The five that everybody meets"
#: What people call the five, and the way that meets each.
SHORT = {
    "`GOOGLE_API_KEY` not found": ("ConfigurationError", 1),
    "Redis connection failed": ("CostStoreError", 0),
    "Celery tasks not running": ("workers", 0),
    "403 CSRF error": ("CSRF", 0),
    "AI operations failing": ("ai_health_check", 0),
}
#: Classes that are caught and never raised.
BASES = {"ObcAIError", "ProviderError"}
WITHOUT_CLASS = {name for name, _ in SHORT.values() if not name.endswith("Error")}


def _rows() -> dict[str, list[str]]:
    """The messages of the page by the error that they are of, in the order of the page."""
    found: dict[str, list[str]] = {}
    for cells in table_rows(PAGE.read_text().partition(f"## {FIVE}")[2].partition("\n## ")[2]):
        message, error, _ = cells
        (name,) = names(error)
        found.setdefault(name, []).append(message.strip("`"))
    return found


ROWS = _rows()
SHORT_ROWS = {row[0]: row[1].strip("`") for row in table_rows(section(PAGE, FIVE))}


def is_said(written: str, told: str) -> bool:
    """Is this message what the page says, where … stands for anything?"""
    return bool(re.fullmatch(".+".join(map(re.escape, written.split("…"))), told, re.DOTALL))


def test_every_error_of_the_reference_has_its_rows() -> None:
    assert provoked_calls and provoked_work  # they note the ways
    table = table_rows(ERRORS.read_text().partition("## What")[0])
    assert set(ROWS) == {names(row[0])[0] for row in table} - BASES
    ways = {name: len(found) for name, found in WAYS.items() if name not in WITHOUT_CLASS}
    assert {name: len(found) for name, found in ROWS.items()} == ways
    assert list(SHORT_ROWS) == list(SHORT)


def test_base_classes_are_never_raised() -> None:
    for path in Path(django_obc_ai.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Raise) and node.exc is not None:
                raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
                assert ast.unparse(raised) not in BASES, path


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("name", "number"), list(all_ways()))
def test_the_page_says_what_is_really_said(
    request: pytest.FixtureRequest, name: str, number: int
) -> None:
    told = WAYS[name][number](request)
    if isinstance(told, BaseException):
        assert type(told).__name__ == name
    if name not in WITHOUT_CLASS:
        # This row and no other, so that whoever looks for a message finds one answer.
        fitting = [
            (error, at)
            for error, messages in ROWS.items()
            for at, written in enumerate(messages)
            if is_said(written, str(told))
        ]
        assert fitting == [(name, number)], str(told)
    shorts = [short for short, way in SHORT.items() if way == (name, number)]
    assert [is_said(SHORT_ROWS[short], str(told)) for short in shorts] == [True] * len(shorts)
    assert shorts or name not in WITHOUT_CLASS


def test_messages_are_compared_as_a_whole() -> None:
    assert is_said("No index is named '…'.", "No index is named 'x'.")
    assert not is_said("No index is named '…'.", "No index is named 'x'. Look elsewhere.")
    assert not is_said("No index is named '…'.", "No index is named ''.")
