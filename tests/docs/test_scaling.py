"""The page on scaling: each figure that was measured stands in the result that it names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.markdown import DOCS, table_rows

PAGE = DOCS / "explanation" / "scaling.md"
_RESULT = re.compile(r"\[([\w-]+)\]\(\.\./acceptance/([\w-]+)\.md\)")
_FIGURE = re.compile(r"\d[\d,]*(?:\.\d+)?")


def claims() -> Iterator[tuple[str, Path]]:
    """Yield every figure in a row whose last cell names a result, and that result."""
    for row in table_rows(PAGE.read_text()):
        found = _RESULT.fullmatch(row[-1])
        if found is not None:
            assert found[1] == found[2], f"{row[-1]} is called otherwise"
            for figure in _FIGURE.findall(" ".join(row[:-1])):
                yield figure.rstrip(","), DOCS / "acceptance" / f"{found[2]}.md"


@pytest.mark.parametrize(("figure", "result"), sorted(set(claims())), ids=str)
def test_measured_figures_stand_in_the_result_they_name(figure: str, result: Path) -> None:
    measured = {each.rstrip(",") for each in _FIGURE.findall(result.read_text())}
    assert figure in measured


def test_there_are_figures_and_none_without_its_result() -> None:
    assert len(set(claims())) >= 12
    for row in table_rows(PAGE.read_text()):
        has_unit = re.search(r"\d (?:ms|s|MB)$", " ".join(row[:-1]).strip())
        assert not has_unit or _RESULT.fullmatch(row[-1]), f"no result is named: {row}"


def test_results_are_of_benchmarks_that_are_there() -> None:
    for result in {path for _, path in claims()}:
        scripts = [DOCS.parent / "tests" / kind / f"{result.stem}.py"
                   for kind in ("benchmarks", "acceptance")]  # fmt: skip
        assert any(each.is_file() for each in scripts), result
