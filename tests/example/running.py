"""Running the example site through manage.py, in processes of its own.

Apart from any test: modules whose tests need other packages import it, installed or not.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MANAGE = ROOT / "example_project" / "manage.py"
STRICT = ("-W", "error::DeprecationWarning", "-W", "error::PendingDeprecationWarning")


def run(*arguments: object, var: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the example's files in a folder of the test."""
    environment = {
        name: value
        for name, value in os.environ.items()
        # PYTHONSAFEPATH would keep manage.py from finding the site beside it.
        # A key would let the site ask Gemini, for money.
        if name not in ("DJANGO_SETTINGS_MODULE", "PYTHONSAFEPATH", "GOOGLE_API_KEY")
        and not name.startswith("OBC_SITE_")
    }
    # Where the embedder is not the point, the one that needs no second; see test_languages.py.
    own = {"OBC_SITE_VAR": str(var), "OBC_SITE_EMBEDDER": "hashing"}
    return subprocess.run(
        [sys.executable, *STRICT, *map(str, arguments)],
        env=environment | own | env,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=var,
    )


def manage(*arguments: object, var: Path, **env: str) -> str:
    """Run a management command that has to succeed, and return what it printed."""
    done = run(MANAGE, *arguments, var=var, **env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
