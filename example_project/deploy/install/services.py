"""PostgreSQL and Redis of a trial: their folders, for this machine and this site alone."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from deploy.backups.problems import Problem
from deploy.install import machine
from deploy.install.commands import run

LOOPBACK = ("127.0.0.1", "localhost", "::1")
#: The role and the database of a trial.
NAME = "obc_site"


def postgres_url(port: str) -> str:
    """Return where a trial's database is, with a new password."""
    return f"postgres://{NAME}:{secrets.token_urlsafe(24)}@127.0.0.1:{port}/{NAME}"


def redis_url(port: str) -> str:
    """Return where a trial's Redis is, with a new password."""
    return f"redis://:{secrets.token_urlsafe(24)}@127.0.0.1:{port}/0"


def leads_here(url: str | None, port: str) -> bool:
    """Does an address lead to a port of this machine?"""
    parts = urlsplit(url or "")
    return parts.hostname in LOOPBACK and str(parts.port) == port


def make_postgres(home: Path, program: str, *, env: Mapping[str, str], log: Path) -> bool:
    """Make the folder of a PostgreSQL; return whether there was none.

    Its superuser is called as the user who runs it, and gets in through the socket in run/, which
    nobody else can open. Everybody else needs a password.
    """
    folder = home / "postgres"
    for left in home.glob(".postgres-*"):  # by a run that was killed
        shutil.rmtree(left, ignore_errors=True)
    if (folder / "PG_VERSION").is_file():
        return False
    if folder.exists() and any(folder.iterdir()):
        raise Problem(f"{folder} is no folder of PostgreSQL, and not empty: move it away.")
    scratch = home / f".postgres-{os.getpid()}"
    initdb = [
        Path(program).with_name("initdb"), "-D", scratch, "--auth-local=peer",
        "--auth-host=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8",
    ]  # fmt: skip
    run(initdb, what="initdb", env=env, log=log)
    if folder.exists():
        folder.rmdir()
    scratch.rename(folder)
    return True


def postgres_program(home: Path) -> str | None:
    """Return the program that runs a trial's PostgreSQL: of the version that made its folder.

    Raises:
        Problem: That version is not installed any more.
    """
    version = home / "postgres" / "PG_VERSION"
    major = version.read_text("ascii").strip() if version.is_file() else None
    folder = machine.postgres_folder(major)
    if folder is None and major is not None:
        raise Problem(
            f"{home / 'postgres'} was made by PostgreSQL {major}, which is not installed:"
            f" {machine.apt_line([f'postgresql-{major}'])}, or name its folder in OBC_SITE_PG_BIN."
        )
    return str(folder / "postgres") if folder else None


def make_redis(home: Path, url: str, port: str) -> bool:
    """Write the configuration of a trial's Redis; return whether it was another."""
    folder = home / "redis"
    folder.mkdir(mode=0o700, exist_ok=True)
    password = urlsplit(url).password or ""
    text = "\n".join(
        [
            "# Made by deploy_ai.sh from REDIS_URL in .env.",
            "bind 127.0.0.1",
            f"port {port}",
            "protected-mode yes",
            f'requirepass "{password}"' if password else "# without a password",
            f'dir "{folder}"',
            "daemonize no",
            'logfile ""',
            "# It keeps what was spent: nothing is thrown away, all is on disk within a second.",
            "appendonly yes",
            "appendfsync everysec",
            "maxmemory-policy noeviction",
            "",
        ]
    )
    path = folder / "redis.conf"
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return False
    draft = path.with_name("redis.conf.new")
    draft.touch(mode=0o600)
    draft.chmod(0o600)
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
    return True
