"""What a release is checked for before it is made: each check finds what it looks for."""

from __future__ import annotations

import ast
import builtins
import json
import re
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import django_obc_ai
from tests import check_release
from tests.check_dist import MOST_BYTES, size_faults
from tests.check_files import committed_files
from tests.check_sbom import faults as sbom_faults

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = Path(django_obc_ai.__file__).parent
LOG = """# Changelog

## Unreleased

## 0.2.0 (2027-01-31)

### Features

- One.

### Fixes

- Two.

## 0.1.0 (2026-12-24)
"""


def test_the_version_stands_in_one_place() -> None:
    told = django_obc_ai.__version__
    assert check_release.version_of(ROOT) == told
    allowed = {"CHANGELOG.md", "django_obc_ai/__init__.py", "tests/test_release.py"}
    texts = {".py", ".toml", ".md", ".sh", ".ini", ".cfg", ".in", ".yml", ".yaml", ".json", ".txt"}
    declared = (f'version = "{told}"', f'version: "{told}"', f"obc-ai=={told}", f"obc_ai-{told}")
    found = [
        path.relative_to(ROOT).as_posix()
        for path in committed_files()
        if path.suffix in texts and any(each in path.read_text() for each in declared)
    ]
    assert set(found) <= allowed
    assert f"| {told.rpartition('.')[0]}.x | yes |" in (ROOT / "SECURITY.md").read_text()


def test_a_changelog_that_announces_the_version_is_right() -> None:
    assert check_release.changelog_faults(LOG, "0.2.0") == []


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("Unreleased\n", "Unreleased\n\n- Three.\n", "still stand"),
        ("0.2.0 (2027-01-31)", "0.2.0", "no heading"),
        ("### Features", "### News", "groups"),
        ("### Features", "### Other", "groups"),
    ],
)
def test_a_changelog_that_does_not_is_told(old: str, new: str, told: str) -> None:
    (found,) = check_release.changelog_faults(LOG.replace(old, new, 1), "0.2.0")
    assert told in found


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A repository with a release behind it, ready for the next."""
    migration = tmp_path / "django_obc_ai" / "migrations" / "0001_initial.py"
    migration.parent.mkdir(parents=True)
    migration.write_text("operations = [1]\n")
    (tmp_path / "django_obc_ai" / "__init__.py").write_text('__version__ = "0.2.0"\n')
    (tmp_path / "CHANGELOG.md").write_text(LOG)
    (tmp_path / "SECURITY.md").write_text("| 0.2.x | yes |\n")
    own = ["-c", "user.name=Amina", "-c", "user.email=amina@example.org"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "One"], ["tag", "v0.1.0"]):
        subprocess.run(["git", *own, *arguments], cwd=tmp_path, check=True)
    return tmp_path


def test_a_tree_that_is_ready_and_one_that_is_not(clone: Path) -> None:
    assert check_release.faults(clone, "0.2.0") == []
    (clone / "django_obc_ai" / "migrations" / "0002_more.py").write_text("operations = [2]\n")
    assert check_release.faults(clone, "0.2.0") == []
    (clone / "django_obc_ai" / "migrations" / "0001_initial.py").write_text("operations = [3]\n")
    subprocess.run(["git", "tag", "v0.3.0"], cwd=clone, check=True)
    told = " ".join(check_release.faults(clone, "0.3.0"))
    for each in ("says 0.2.0", "not list 0.3.x", "a tag v0.3.0", "0001_initial.py was released"):
        assert each in told


def test_no_released_migration_has_changed() -> None:
    assert check_release.migration_faults(ROOT) == []


def _warned(tree: ast.AST) -> Iterator[str]:
    """The text of every DeprecationWarning that a module warns with, as its code has it."""
    for node in ast.walk(tree):
        is_call = isinstance(node, ast.Call) and ast.unparse(node.func).endswith("warn")
        if is_call and "DeprecationWarning" in ast.unparse(node):
            yield ast.unparse(node.args[0]).lstrip("f('\"")


def test_our_notices_of_deprecation_can_be_filtered_by_how_they_begin() -> None:
    sample = "import warnings\nwarnings.warn(f'x is old in {y}', DeprecationWarning, stacklevel=2)"
    assert list(_warned(ast.parse(sample))) != []
    told = [text for path in PACKAGE.rglob("*.py") for text in _warned(ast.parse(path.read_text()))]
    assert [text for text in told if not text.startswith("django-obc-ai:")] == []


def test_the_line_that_the_page_gives_to_pytest_finds_them() -> None:
    page = (ROOT / "docs" / "project" / "releases.md").read_text()
    action, message, kind = re.search(r"filterwarnings = (.+)", page)[1].split(":")
    with warnings.catch_warnings():
        warnings.filterwarnings(action, message=message, category=getattr(builtins, kind))
        with pytest.raises(DeprecationWarning):
            warnings.warn("django-obc-ai: x goes in 0.3.", DeprecationWarning, stacklevel=1)


def test_a_wheel_that_has_grown_is_told() -> None:
    assert size_faults(MOST_BYTES) == []
    assert size_faults(MOST_BYTES + 1) != []


def _bill(**changes: Any) -> dict[str, Any]:
    bill: dict[str, Any] = {
        "metadata": {"component": {"name": "django-obc-ai", "version": "1", "bom-ref": "root"}},
        "components": [{"name": "Django", "version": "6.1", "purl": "pkg:pypi/django@6.1"}],
        "dependencies": [{"ref": "root", "dependsOn": ["Django"]}],
    }
    return {**bill, **changes}


def test_a_bill_of_materials_is_compared_with_what_is_installed() -> None:
    installed = {"django_obc_ai": "1", "Django": "6.1"}
    assert sbom_faults(_bill(), installed) == []
    for told, bill, others in (
        ("main component", _bill(), {"django_obc_ai": "2", "Django": "6.1"}),
        ("django: 6.1 listed, 5.2 installed", _bill(), {**installed, "Django": "5.2"}),
        ("numpy: None listed", _bill(), {**installed, "numpy": "2"}),
        ("no purl", _bill(components=[{"name": "Django", "version": "6.1"}]), installed),
        ("depends on nothing", _bill(dependencies=[]), installed),
        ("path of one machine", _bill(x="file:" + "///builds/x.whl"), installed),
    ):
        assert told in " ".join(sbom_faults(bill, others)), told
    assert json.dumps(_bill())  # as the file is
