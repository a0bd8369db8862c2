"""What the environment says about a deployment, checked as a whole before anything starts.

    cd example_project && python -m deploy.env         print what is configured, or every fault

Variables come from the environment and, where it lacks them, from the file ``.env`` in the
installation folder (``OBC_SITE_VAR``). ``.env.example`` describes each. Needs no package.
"""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from deploy import reading
from deploy.dotenv import read_file
from deploy.reading import Reader

DEFAULT_HOME = Path(__file__).resolve().parent.parent / "var" / "production"
YEAR = 31_536_000  # seconds
POOL = 20  # connections of one process under ASGI; half as many let streams queue for them


class NotConfigured(Exception):
    """The environment cannot be deployed with; the message lists every fault."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Deployment:
    """Values that were checked. It has no repr, which would show secrets."""

    home: Path
    secret_key: str
    allowed_hosts: list[str]
    csrf_trusted_origins: list[str]
    database_url: str | None
    redis_url: str
    cache_url: str
    google_api_key: str | None
    day_budget: Decimal
    month_budget: Decimal
    per_minute: int | None
    per_day: int | None
    alert_emails: list[str]
    hsts_seconds: int
    hsts_subdomains: bool
    hsts_preload: bool
    proxies: int
    pool: int
    metrics_token: str | None

    def summary(self) -> list[str]:
        """Say what is used, a line each, without a secret."""
        is_postgres = self.database_url and self.database_url.startswith("postgres")
        answers = (
            f"Gemini, ${self.day_budget} a day and ${self.month_budget} a month at most"
            if self.google_api_key
            else "offline provider, which costs nothing: no GOOGLE_API_KEY"
        )
        return [
            f"folder: {self.home}",
            f"hosts: {', '.join(self.allowed_hosts)}",
            f"database: {'PostgreSQL' if is_postgres else 'SQLite'}",
            f"answers: {answers}",
        ]


def home_of(environ: MutableMapping[str, str]) -> Path:
    """Return the installation folder."""
    return Path(environ.get("OBC_SITE_VAR") or DEFAULT_HOME).resolve()


def load(environ: MutableMapping[str, str]) -> Deployment:
    """Add the file ``.env`` to the environment, check all, and return what it says.

    Raises:
        NotConfigured: Something is missing or wrong; the message says all of it.
    """
    home = home_of(environ)
    path = home / ".env"
    found, faults = read_file(path)
    for name, value in found.items():
        environ.setdefault(name, value)
    reader = Reader(environ, faults)
    deployment = _read(reader, home)
    if reader.faults:
        number = len(reader.faults)
        listed = "\n".join(f"  {fault}" for fault in reader.faults)
        raise NotConfigured(
            f"This deployment cannot start: {number} fault{'s' * (number > 1)} in its variables,"
            f" which are read from the environment and then from {path}:\n{listed}"
        )
    return deployment


def _read(reader: Reader, home: Path) -> Deployment:
    reading.refuse_debug(reader)
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reader.fault("OBC_SITE_VAR", f"{home} cannot be made ({error.strerror}); name another.")
    redis_url, cache_url = reading.redis_urls(reader)
    pool = POOL if reader.text("OBC_SITE_SERVER") == "asgi" else 0
    return Deployment(
        home=home,
        secret_key=reading.secret_key(reader),
        allowed_hosts=reading.hosts(reader),
        csrf_trusted_origins=reading.origins(reader),
        database_url=reading.database_url(reader),
        redis_url=redis_url,
        cache_url=cache_url,
        google_api_key=reading.api_key(reader),
        day_budget=reader.dollars("OBC_SITE_DAY_BUDGET", "5.00"),
        month_budget=reader.dollars("OBC_SITE_MONTH_BUDGET", "100.00"),
        per_minute=reader.limit("OBC_SITE_PER_MINUTE", 60),
        per_day=reader.limit("OBC_SITE_PER_DAY", 1500),
        alert_emails=reading.emails(reader),
        hsts_seconds=reader.number("OBC_SITE_HSTS_SECONDS", YEAR),
        hsts_subdomains=reader.decision("OBC_SITE_HSTS_SUBDOMAINS"),
        hsts_preload=reader.decision("OBC_SITE_HSTS_PRELOAD"),
        proxies=reader.number("OBC_SITE_PROXIES", 1),
        pool=reader.number("OBC_SITE_POOL", pool),
        metrics_token=reading.metrics_token(reader),
    )


def main() -> int:
    """Print what is configured; 1 if it is not."""
    try:
        deployment = load(os.environ)
    except NotConfigured as error:
        print(error, file=sys.stderr)
        return 1
    print("\n".join(deployment.summary()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
