"""The feature matrix of backends is what their classes declare."""

from __future__ import annotations

import pytest

from tests.docs.backend_matrix import FAMILIES, flags_of, shipped, table
from tests.docs.markdown import DOCS, headings, names, section

PAGE = DOCS / "reference" / "backends.md"


def test_every_family_has_its_table_and_no_other_is_there() -> None:
    assert headings(PAGE, 2) == [f"`{key}`" for key in FAMILIES]


@pytest.mark.parametrize("key", FAMILIES)
def test_a_table_is_what_the_classes_declare(key: str) -> None:
    assert shipped(key)
    told = section(PAGE, f"`{key}`")
    assert [line for line in told.splitlines() if line.startswith("|")] == list(table(key))


@pytest.mark.parametrize("key", FAMILIES)
def test_every_flag_is_explained(key: str) -> None:
    lines = section(PAGE, f"`{key}`").splitlines()
    prose = " ".join(line for line in lines if not line.startswith("|"))
    assert set(flags_of(key)) <= set(names(prose))


def test_the_flags_are_not_all_alike() -> None:
    """Or a mistake in reading them would not be seen."""
    cells = {each.strip() for key in FAMILIES for line in table(key) for each in line.split("|")}
    assert {"yes", "no", "by its set-up", "none", "`redis`"} <= cells
