"""Check what a built wheel and sdist contain: `python tests/check_dist.py DIST ...`."""

from __future__ import annotations

import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "django_obc_ai"
IN_SDIST = ("tests/run.sh", "docs/conf.py", "tox.ini", "LICENSE", "README.md", "CHANGELOG.md")
#: Bytes that a wheel may have. What is in it is Python's text, nearly all of it: see
#: docs/project/releases.md.
MOST_BYTES = 1_250_000
NEVER = (".venv-tests/", ".tox/", "example_project/var/", "__pycache__", ".sqlite3", ".git/")


def package_files() -> set[str]:
    """Every file of the package in this tree, except what Python makes itself."""
    return {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / PACKAGE).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def wheel_faults(names: set[str]) -> list[str]:
    """The wheel holds the package, whole, and nothing else."""
    strangers = {name for name in names if not name.startswith((f"{PACKAGE}/", f"{PACKAGE}-"))}
    return [f"not of the package: {name}" for name in sorted(strangers)] + [
        f"missing: {name}" for name in sorted(package_files() - names)
    ]


def size_faults(size: int) -> list[str]:
    """A wheel is no place for data and models; whoever makes it much larger decides so here."""
    return [f"{size:,} bytes, more than {MOST_BYTES:,}"] if size > MOST_BYTES else []


def sdist_faults(names: set[str]) -> list[str]:
    """The sdist holds the sources, tests and docs, and nothing that was made by running them."""
    inside = {name.split("/", 1)[1] for name in names if "/" in name}
    wanted = package_files() | set(IN_SDIST)
    return [f"missing: {name}" for name in sorted(wanted - inside)] + [
        f"does not belong: {name}" for name in sorted(inside) if any(n in name for n in NEVER)
    ]


def main() -> int:
    """Check every file named on the command line."""
    status = 0
    for name in sys.argv[1:]:
        if name.endswith(".whl"):
            with zipfile.ZipFile(name) as wheel:
                found = wheel_faults(set(wheel.namelist()))
            found += size_faults(Path(name).stat().st_size)
        else:
            with tarfile.open(name) as sdist:
                found = sdist_faults(set(sdist.getnames()))
        status |= bool(found)
        print(f"{Path(name).name}: " + ("; ".join(found) or "as it should be"))
    return status


if __name__ == "__main__":
    raise SystemExit(main())
