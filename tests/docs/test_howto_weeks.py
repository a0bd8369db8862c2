"""The page on the first weeks: its commands work, and the figures it names are there."""

from __future__ import annotations

import re

from tests.docs.markdown import DOCS, headings, section, table_rows
from tests.docs.test_howto_deploy import Shell, home, migrated, needs_site
from tests.docs.test_howto_production import check_calls, follow, shell
from tests.subprocesses import ROOT

__all__ = ["home", "migrated", "shell"]
PAGE = DOCS / "howto" / "first-four-weeks.md"
DASHBOARD = DOCS / "howto" / "watch-the-dashboard.md"
WEEKS = ("Week 1: watch", "Week 2: train", "Week 3: tune", "Week 4: plan ahead")


def test_each_week_says_what_to_look_at() -> None:
    assert tuple(headings(PAGE, 2)) == WEEKS
    for week in WEEKS:
        rows = table_rows(section(PAGE, week))
        assert len(rows) >= 5 and all(all(row) for row in rows), week


def test_figures_of_the_dashboard_are_on_it() -> None:
    parts = {row[0] for row in table_rows(section(DASHBOARD, "Read it"))}
    parts = {name for each in parts for name in (each, *each.split(", "))}
    named = [
        name
        for week in WEEKS
        for row in table_rows(section(PAGE, week))
        for cell in row
        if "dashboard" in cell
        for name in re.findall(r"\*([A-Z][\w ]+)\*", cell)
    ]
    # "Slowest answers" and others stand two in a row.
    folded = {each.lower() for each in parts}
    assert len(named) >= 7
    assert [each for each in named if each.lower() not in folded] == []


def test_targets_are_those_that_the_kit_and_the_alerts_have() -> None:
    text = PAGE.read_text()
    assert 'reader.dollars("OBC_SITE_DAY_BUDGET", "5.00")' in (
        ROOT / "example_project/deploy/env.py"
    ).read_text()  # fmt: skip
    assert "less than $5" in text and "OBC_SITE_DAY_BUDGET=5.00" in text
    rules = (DOCS / "monitoring" / "alerts.yml").read_text()
    assert "> 0.1 * sum(max by (outcome)" in rules and "fewer than one in ten operations" in text
    assert "< 0.8 * sum(max by (outcome)" in rules and "80 %" in text


def test_every_command_of_the_page_is_there() -> None:
    check_calls(PAGE)


@needs_site
def test_the_page_does_what_it_says(shell: Shell) -> None:
    assert follow(PAGE, shell) >= 6
