"""Check that the tree is what a version says: `python tests/check_release.py VERSION`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_GROUPS = ("Breaking changes", "Features", "Fixes", "Deprecations", "Other")


def version_of(root: Path) -> str:
    """Return the version, from the one place where it stands."""
    text = (root / "django_obc_ai" / "__init__.py").read_text()
    return re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)[1]


def changelog_faults(text: str, version: str) -> list[str]:
    """Say what keeps a changelog from announcing a version."""
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)[1:]
    sections = dict(zip(parts[::2], parts[1::2], strict=True))
    found = []
    if sections.get("Unreleased", "").strip():
        found.append('CHANGELOG.md: entries still stand under "Unreleased"')
    dated = [
        head
        for head in sections
        if re.fullmatch(rf"{re.escape(version)} \(\d{{4}}-\d\d-\d\d\)", head)
    ]
    if not dated:
        return [*found, f'CHANGELOG.md: no heading "## {version} (YYYY-MM-DD)"']
    groups = re.findall(r"^### (.+)$", sections[dated[0]], re.MULTILINE)
    if not groups or [each for each in _GROUPS if each in groups] != groups:
        found.append(
            f"CHANGELOG.md: the groups of {version} are not {', '.join(_GROUPS)}, in this order"
        )
    return found


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True)
    return done.stdout if done.returncode == 0 else ""


def migration_faults(root: Path) -> list[str]:
    """Name the migrations that an earlier release had in other words, or that are gone."""
    found, folder = [], "django_obc_ai/migrations"
    for tag in _git(root, "tag", "--list", "v*").split():
        for name in _git(root, "ls-tree", "--name-only", tag, f"{folder}/").split():
            now = root / name
            if not now.is_file() or now.read_text() != _git(root, "show", f"{tag}:{name}"):
                found.append(f"{name} was released with {tag} and has changed")
    return found


def faults(root: Path, version: str) -> list[str]:
    """Say what keeps this tree from being released as a version."""
    found = changelog_faults((root / "CHANGELOG.md").read_text(), version)
    if version_of(root) != version:
        found.append(f"django_obc_ai/__init__.py says {version_of(root)}, not {version}")
    minor = ".".join(version.split(".")[:2])
    if f"| {minor}.x | yes |" not in (root / "SECURITY.md").read_text():
        found.append(f"SECURITY.md does not list {minor}.x as supported")
    if f"v{version}" in _git(root, "tag", "--list").split():
        found.append(f"there is a tag v{version}")
    return found + migration_faults(root)


def main() -> int:
    """Check the working tree."""
    found = faults(ROOT, sys.argv[1])
    print("\n".join(found) or f"This is {sys.argv[1]}.")
    return bool(found)


if __name__ == "__main__":
    raise SystemExit(main())
