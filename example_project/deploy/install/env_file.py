"""The file ``.env`` of a new installation: what is given is taken, what is missing is made."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

from deploy.backups.problems import Problem

#: What every deployment is told, and where it is explained.
EXAMPLE = Path(__file__).resolve().parent.parent / ".env.example"
MARK = "# Made by deploy_ai.sh"
_NAME = re.compile(r"^#?([A-Z][A-Z0-9_]+)=", re.MULTILINE)


def names() -> list[str]:
    """Return the variables that `.env.example` describes, in its order."""
    return list(dict.fromkeys(_NAME.findall(EXAMPLE.read_text(encoding="utf-8"))))


def given(environ: Mapping[str, str]) -> dict[str, str]:
    """Return those that the environment has; an empty one is none.

    Raises:
        Problem: One holds a line break.
    """
    found = {name: environ[name].strip() for name in names() if environ.get(name, "").strip()}
    for name, value in found.items():
        if re.search(r"[\r\n]", value):
            raise Problem(f"{name} in the environment holds a line break; a value is one line.")
    return found


def origins(hosts: Sequence[str], port: str) -> list[str]:
    """Return where forms of a site with these names come from."""
    suffix = "" if port == "443" else f":{port}"
    return [
        f"https://{host.replace('.', '*.', 1) if host[0] == '.' else host}{suffix}"
        for host in hosts
    ]


def make(
    environ: Mapping[str, str], *, hosts: Sequence[str], port: str, database: str, redis: str
) -> dict[str, str]:
    """Return the variables of a new installation, in the order of the file.

    Args:
        environ: What is set here is taken as it is.
        hosts: Names of the site, if ALLOWED_HOSTS is not set.
        port: Of HTTPS, as people see it.
        database: Where PostgreSQL of the trial is; "" for SQLite.
        redis: Where Redis of the trial is.
    """
    taken = given(environ)
    allowed = [each.strip() for each in taken.get("ALLOWED_HOSTS", ",".join(hosts)).split(",")]
    made = {
        "SECRET_KEY": secrets.token_urlsafe(50),
        "DEBUG": "0",
        "ALLOWED_HOSTS": ",".join(allowed),
        "CSRF_TRUSTED_ORIGINS": ",".join(origins([each for each in allowed if each], port)),
        "DATABASE_URL": database,
        "REDIS_URL": redis,
        # Short: a name that is tried out should not be bound to HTTPS for long.
        "OBC_SITE_HSTS_SECONDS": "3600",
        "OBC_SITE_HSTS_SUBDOMAINS": "1",
        "OBC_SITE_HSTS_PRELOAD": "1",
        "OBC_SITE_METRICS_TOKEN": secrets.token_urlsafe(32),
    }
    return {name: value for name, value in {**made, **taken}.items() if value}


def text(values: Mapping[str, str]) -> str:
    """Return the file."""
    lines = [
        f"{MARK}; .env.example in example_project/deploy describes each variable.",
        "# For the site's user alone. Without DATABASE_URL the database is db.sqlite3 here;",
        "# without GOOGLE_API_KEY the offline provider answers, says so, and costs nothing.",
        *(f"{name}={value}" for name, value in values.items()),
    ]
    return "\n".join(lines) + "\n"


def write(path: Path, values: Mapping[str, str]) -> None:
    """Write the file for its owner alone; one that is there stays as it is."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(descriptor, 0o600)
            file.write(text(values))
            file.flush()
            os.fsync(descriptor)
        os.link(draft, path)  # which fails where there is one
    except FileExistsError:
        raise Problem(f"{path} was made by somebody else meanwhile; run this again.") from None
    finally:
        draft.unlink(missing_ok=True)
