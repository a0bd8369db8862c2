"""The page on guarantees: each has a test, and each figure stands in the result that it names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.markdown import DOCS, headings, names, prose, section, table_rows
from tests.docs.test_owasp import PROOF

PAGE = DOCS / "explanation" / "guarantees.md"
PARTS = ["Money", "One call", "The index", "Chat", "Start-up"]
_RESULT = re.compile(r"\[([\w-]+)\]\(\.\./acceptance/([\w-]+)\.md\)(?P<told>[^\[]*)")
_NAMED = re.compile(r"`([^`]+)` (\S+)")
_FIGURE = re.compile(r"\d[\d,]*(?:\.\d+)?")


def figures_of(text: str) -> set[str]:
    """Return the numbers of a text, as they are written."""
    return {each.rstrip(",") for each in _FIGURE.findall(text)}


def told() -> Iterator[tuple[str, Path]]:
    """Yield what a row says of a result, and that result."""
    for part in PARTS:
        for *_, measured in table_rows(section(PAGE, part)):
            for name, target, text in _RESULT.findall(measured):
                assert name == target
                yield text, DOCS / "acceptance" / f"{target}.md"


TOLD = list(told())
_EACH = [pytest.param(*each, id=f"{n} {each[1].stem}") for n, each in enumerate(TOLD)]


def cells_of(result: Path, name: str) -> set[str]:
    """Return what stands in the columns, and beside the rows, of that name in a result."""
    found: set[str] = set()
    head: list[str] = []
    for line in result.read_text().splitlines():
        cells = [each.strip() for each in line.strip("|").split("|")]
        if not line.startswith("|"):
            head = []
        elif not head:
            head = cells
        elif name in head:
            found.add(cells[head.index(name)])
        elif cells[0] == name:
            found.add(cells[1])
    return {each for each in found if set(each) != {"-"}}  # a rule below the head


@pytest.mark.parametrize("part", PARTS)
def test_every_part_has_guarantees_with_their_tests_and_says_where_they_end(part: str) -> None:
    rows = table_rows(section(PAGE, part))
    assert len(rows) >= 3
    for claim, proof, measured in rows:
        assert names(proof), claim
        assert all("::" in each and PROOF.fullmatch(each) for each in names(proof)), claim
        assert not measured or _RESULT.match(measured), claim
    assert "\nWhere it ends:\n\n- " in section(PAGE, part)


def test_the_parts_are_those_of_the_page() -> None:
    assert headings(PAGE, 2)[:-1] == PARTS


@pytest.mark.parametrize(("text", "result"), _EACH)
def test_each_figure_stands_in_the_result_that_it_names(text: str, result: Path) -> None:
    assert text.startswith(": ")
    assert figures_of(text) <= figures_of(result.read_text())
    for name, value in _NAMED.findall(text):
        assert cells_of(result, name) == {value.rstrip(",;")}, name


def test_there_is_no_figure_without_a_result() -> None:
    lines = prose(PAGE).splitlines()
    assert [line for line in lines if "|" not in line and figures_of(line)] == []
    for part in PARTS:
        for claim, _, measured in table_rows(section(PAGE, part)):
            assert figures_of(claim) == set(), claim
            assert figures_of(_RESULT.sub("", measured)) == set(), measured


def test_figures_are_compared() -> None:
    assert sum(len(figures_of(text)) for text, _ in TOLD) >= 12
    assert figures_of("of 25,000, at most 1.5 s") == {"25,000", "1.5"}
    assert sum(len(_NAMED.findall(text)) for text, _ in TOLD) >= 12


def test_columns_and_rows_are_found() -> None:
    jobs, scrape = (DOCS / "acceptance" / f"{name}.md" for name in ("jobs_kill", "metrics_scrape"))
    assert cells_of(jobs, "jobs") == {"200 by 8"}
    assert cells_of(scrape, "workers that served") == {"4"}
    assert cells_of(jobs, "no such column") == set()
