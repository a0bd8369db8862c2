"""docs/reference/verification.md lists the checks of the kit's verifications, in their order."""

from __future__ import annotations

import pytest

from tests.docs.markdown import DOCS, names, section, table_rows
from tests.subprocesses import ROOT, run_python

PAGE = DOCS / "reference" / "verification.md"
EXAMPLE = ROOT / "example_project"


def ids(module: str) -> list[str]:
    """Return the ids of a suite, as `--list` prints them."""
    done = run_python(["-m", f"deploy.verify.{module}", "--list"], cwd=EXAMPLE, path=[EXAMPLE])
    assert done.returncode == 0, done.stdout
    return [line.split()[0] for line in done.stdout.splitlines()]


@pytest.mark.parametrize("module", ["ai"])
def test_every_check_is_listed_in_its_order(module: str) -> None:
    rows = table_rows(section(PAGE, f"verify_{module}.sh"))
    assert [names(row[0])[0] for row in rows] == ids(module)
    assert all(len(row) == 3 and all(row) for row in rows)
