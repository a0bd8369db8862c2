"""Compare a bill of materials with an environment: `python tests/check_sbom.py FILE PYTHON`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

_LIST = """
import importlib.metadata, json
print(json.dumps({d.metadata["Name"]: d.version for d in importlib.metadata.distributions()}))
"""


def plain(name: str) -> str:
    """Return a name of a distribution as an index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def faults(
    bill: dict[str, Any], installed: dict[str, str], own: str = "django-obc-ai"
) -> list[str]:
    """Say what the bill does not tell truly."""
    found = []
    root = bill.get("metadata", {}).get("component", {})
    versions = {plain(name): version for name, version in installed.items()}
    if (plain(root.get("name", "")), root.get("version")) != (own, versions.get(own)):
        found.append("the main component is not this package and version")
    listed = {plain(each["name"]): each.get("version") for each in bill.get("components", [])}
    others = {name: version for name, version in versions.items() if name != own}
    found += [
        f"{name}: {listed.get(name)} listed, {others.get(name)} installed"
        for name in sorted(others.keys() | (listed.keys() - {own}))
        if others.get(name) != listed.get(name)
    ]
    found += [
        f"no purl: {each['name']}" for each in bill.get("components", []) if not each.get("purl")
    ]
    depends = {each["ref"]: each.get("dependsOn", []) for each in bill.get("dependencies", [])}
    if others and not depends.get(root.get("bom-ref")):
        found.append("the main component depends on nothing")
    if re.search(r"file:/", json.dumps(bill)):
        found.append("a path of one machine")
    return found


def main() -> int:
    """Check the file named on the command line."""
    file, python = sys.argv[1:]
    told = subprocess.run([python, "-c", _LIST], capture_output=True, text=True, check=True)
    bill = json.loads(Path(file).read_text(encoding="utf-8"))
    found = faults(bill, json.loads(told.stdout))
    print(f"{Path(file).name}: " + ("; ".join(found) or f"{len(bill['components'])} components"))
    return bool(found)


if __name__ == "__main__":
    raise SystemExit(main())
