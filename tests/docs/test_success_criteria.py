"""The pages about what has to be so list what assess.sh tells, item by item."""

from __future__ import annotations

from functools import cache

import pytest

from tests.docs.markdown import DOCS, names, section, table_rows
from tests.docs.test_verification_reference import EXAMPLE, ids
from tests.subprocesses import run_python

PAGE = DOCS / "reference" / "success-criteria.md"
VERIFICATION = DOCS / "reference" / "verification.md"
CHECKLIST = DOCS / "reference" / "deployment-checklist.md"
#: Heading on the page, beginning of the ids, number of items of the deployment summary.
SECTIONS = [
    ("Before the deployment", "before", 8), ("The deployment", "during", 8),
    ("After the deployment", "after", 9), ("It has worked when", "success", 10),
    ("Services", "services", 6),
]  # fmt: skip


@cache
def listed() -> dict[str, tuple[str, str]]:
    """What it is and the command that shows it, by id, as `assess.sh --list` prints them."""
    done = run_python(["-m", "deploy.verify.assess", "--list"], cwd=EXAMPLE, path=[EXAMPLE])
    assert done.returncode == 0, done.stdout
    lines = (line.split("\t") for line in done.stdout.splitlines())
    return {name: (what, command) for name, what, command in lines}


def of_group(group: str) -> dict[str, tuple[str, str]]:
    return {name: each for name, each in listed().items() if name.rpartition("-")[0] == group}


@pytest.mark.parametrize(("heading", "group", "number"), SECTIONS)
def test_each_item_is_on_the_page_with_its_command(heading: str, group: str, number: int) -> None:
    rows = table_rows(section(PAGE, heading))
    assert len(rows) == number
    shown = {name: (what, command.strip("`")) for name, what, command in rows}
    assert list(shown.items()) == list(of_group(group).items())


@pytest.mark.parametrize(
    ("heading", "group"),
    [("The security checklist", "security"), ("The OWASP Top 10 of 2021", "owasp")],
)
def test_items_of_security_are_those_of_verification(heading: str, group: str) -> None:
    rows = table_rows(section(VERIFICATION, heading))
    found = of_group(group)
    assert [row[0] for row in rows] == [what for what, _ in found.values()]
    for row, (_, command) in zip(rows, found.values(), strict=True):
        words = command.replace(";", "").split()
        assert {*names(row[1])} == {each for each in words if each[0] not in "./-"}, row


@pytest.mark.parametrize(
    ("heading", "group"), [("Before", "before"), ("While", "during"), ("After", "after")]
)
def test_the_checklist_has_the_same_items(heading: str, group: str) -> None:
    assert len(table_rows(section(CHECKLIST, heading))) == len(of_group(group))


def test_no_item_is_without_a_check_that_there_is() -> None:
    known = {"ai": set(ids("ai")), "security": set(ids("security"))}
    assert len(listed()) == 61
    for name, (_, command) in listed().items():
        for part in command.split("; "):
            script, only, *given = part.split()
            suite = script.removeprefix("./verify_").removesuffix(".sh")
            assert only == "--only" and given and set(given) <= known[suite], name
