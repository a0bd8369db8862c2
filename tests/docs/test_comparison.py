"""The page on other packages: figures of ours, and of races with theirs, are measured ones."""

from __future__ import annotations

import re

from tests.docs.markdown import DOCS, prose, section, table_rows
from tests.docs.test_guarantees import figures_of

PAGE = DOCS / "explanation" / "comparison.md"
_RESULT = re.compile(r"\[([\w-]+)\]\(\.\./acceptance/([\w-]+)\.md\)")


def test_our_figures_stand_in_the_results_that_they_name() -> None:
    compared = 0
    for *_, ours in table_rows(PAGE.read_text()):
        results = _RESULT.findall(ours)
        figures = figures_of(_RESULT.sub("", ours))
        measured: set[str] = set()
        for name, target in results:
            assert name == target
            measured |= figures_of((DOCS / "acceptance" / f"{target}.md").read_text())
        assert figures <= measured or not results, ours
        compared += len(figures) if results else 0
    assert compared >= 5


def test_the_race_with_litellm_is_the_one_that_was_run() -> None:
    row = next(row for row in table_rows(section(PAGE, "LiteLLM")) if row[0].startswith("equal"))
    result = (DOCS / "acceptance" / "single_flight.md").read_text()
    assert figures_of(row[1]) <= figures_of(result.partition("LiteLLM")[2])
    assert "1.110.2" in row[1] and "LiteLLM 1.110.2" in result


def test_each_package_of_the_overview_has_its_part_and_says_what_it_is_better_at() -> None:
    text = prose(PAGE)
    for name in (
        "LiteLLM",
        "django-ai-core",
        "genai-prices",
        "llm",
        "GPTCache and LangChain's cache",
    ):
        assert len(section(PAGE, name)) > 200
    assert text.count("**Take it**") >= 4
    assert "## What this package lacks" in text
