"""The database that a backup is restored to: what both kinds can do, each in its way."""

from __future__ import annotations

import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from deploy.backups import sqlite
from deploy.backups.archive import Backup
from deploy.backups.fingerprint import Fingerprint, money_columns, take
from deploy.backups.postgres import Server, run_tool, tool
from deploy.backups.problems import NO_ROOM, Problem, no_room, say


class Place(ABC):
    """A configured database, and others beside it.

    Args:
        settings: The entry in DATABASES.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.name = str(settings["NAME"])

    @property
    @abstractmethod
    def label(self) -> str:
        """What people call it."""

    @abstractmethod
    def state(self) -> str:
        """Return "missing", "empty" or "there"."""

    @abstractmethod
    def users(self) -> list[str]:
        """Return who else has it open."""

    @abstractmethod
    def beside(self, what: str, stamp: str) -> str:
        """Return the name of another database beside it."""

    @abstractmethod
    def fill(self, new: str, backup: Backup) -> None:
        """Make a new database of a backup's data."""

    @abstractmethod
    def fingerprint(self, name: str, like: Fingerprint | None) -> Fingerprint:
        """Read what a database holds; `like` says which columns of money to sum."""

    @abstractmethod
    def swap(self, new: str, old: str | None, *, force: bool) -> None:
        """Give the new one its name, and it the name `old`, in one step."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove a new database, if it is there."""


def _columns(like: Fingerprint | None) -> tuple[list[str], str]:
    if like is None:
        return money_columns()
    return list(like.sums), like.ledger or ""


class SqlitePlace(Place):
    """A file."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__(settings)
        # A link is followed: what is replaced is the file.
        self.path = Path(self.name).resolve()
        self.name = str(self.path)

    @property
    def label(self) -> str:
        """See base class."""
        return self.name

    def state(self) -> str:
        """See base class; a damaged file counts as there."""
        if not self.path.exists():
            return "missing"
        return "empty" if sqlite.tables(self.path) == 0 else "there"

    def users(self) -> list[str]:
        """See base class."""
        return sqlite.users_of(self.path)

    def beside(self, what: str, stamp: str) -> str:
        """See base class: in the same folder, so that a rename moves it."""
        return f"{self.name}.{what}-{stamp}"

    def fill(self, new: str, backup: Backup) -> None:
        """See base class."""
        path = Path(new)
        size = int(backup.manifest["bytes"])
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if shutil.disk_usage(path.parent).free < size:
                raise no_room(path.parent, f"the backup has {size / 1e6:,.1f} MB")
            with backup.data.open("rb") as source, path.open("xb") as target:
                path.chmod(0o600)
                shutil.copyfileobj(source, target, 1 << 20)
                target.flush()
                os.fsync(target.fileno())
        except OSError as error:
            if error.errno in NO_ROOM:
                raise no_room(path.parent, error.strerror) from error
            raise Problem(f"{path} cannot be written: {error.strerror}.") from error
        sqlite.check(path)

    def fingerprint(self, name: str, like: Fingerprint | None) -> Fingerprint:
        """See base class."""
        columns, ledger = _columns(like)
        try:
            with closing(sqlite.connect(Path(name))) as connection:
                query = sqlite.query_of(connection)
                return take(query, vendor="sqlite", columns=columns, ledger=ledger)
        except sqlite.sqlite3.Error as error:
            raise Problem(f"{name} cannot be read: {error}.") from error

    def swap(self, new: str, old: str | None, *, force: bool) -> None:
        """See base class."""
        fresh, kept = Path(new), Path(old or self.beside("left", "over"))
        if old:
            was = self.path.stat()
            fresh.chmod(was.st_mode & 0o777)
            if os.geteuid() == 0:
                os.chown(fresh, was.st_uid, was.st_gid)
        elif os.geteuid() == 0:  # the site's user, not root, is who opens it
            home = self.path.parent.stat()
            os.chown(fresh, home.st_uid, home.st_gid)
        if old and force and self.users():
            sqlite.overwrite(fresh, self.path, kept)
        else:
            sqlite.swap(fresh, self.path, kept)

    def remove(self, name: str) -> None:
        """See base class."""
        for end in ("", *sqlite.BESIDE):
            Path(f"{name}{end}").unlink(missing_ok=True)


class PostgresPlace(Place):
    """A database of a server."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__(settings)
        self.server = Server(settings)

    @property
    def label(self) -> str:
        """See base class."""
        return f"database {self.name} of {self.server.label}"

    def state(self) -> str:
        """See base class."""
        if not self.server.exists(self.name):
            return "missing"
        return "there" if self.fingerprint(self.name, None).tables else "empty"

    def users(self) -> list[str]:
        """See base class."""
        return self.server.sessions()

    def beside(self, what: str, stamp: str) -> str:
        """See base class: within the 63 bytes that a name may have."""
        end = f"_{what}_{stamp.lower()}"
        return self.name.encode()[: 63 - len(end)].decode(errors="ignore") + end

    def fill(self, new: str, backup: Backup) -> None:
        """See base class. Owner is who connects; rights of other roles are not restored."""
        with self.server.maintenance() as wrapper:
            major, version = self.server.version(wrapper)
            environment = self.server.environment(wrapper)
        made_on = str(backup.manifest["server"])
        if int(made_on.split(".", maxsplit=1)[0]) > major:
            raise Problem(
                f"The backup is of PostgreSQL {made_on}, and {self.server.label} is {version},"
                " which is older: restore to a server that is as new."
            )
        dumped_by = int(str(backup.manifest["pg_dump"]).split(".")[0])
        program, _ = tool("pg_restore", max(major, dumped_by))
        locale = backup.manifest.get("locale", {})
        try:
            self.server.create(new, locale)
        except Problem as problem:
            if "locale" not in str(problem):
                raise
            say(f"   this server does not have the locale {locale}; its own is used")
            self.server.create(new, {"ENCODING": "UTF8"})
        target = new.replace("\\", "\\\\").replace("'", "\\'")
        command = [
            str(program), "--exit-on-error", "--no-owner", "--no-privileges", "--no-password",
            "--single-transaction", f"--dbname=dbname='{target}'", str(backup.data),
        ]  # fmt: skip
        run_tool(command, subject=str(backup.data), environment=environment, folder=backup.folder)
        with self.server.connection(new) as wrapper, wrapper.cursor() as cursor:
            cursor.execute("ANALYZE")

    def fingerprint(self, name: str, like: Fingerprint | None) -> Fingerprint:
        """See base class."""
        columns, ledger = _columns(like)
        with self.server.connection(name) as wrapper, wrapper.cursor() as cursor:

            def query(sql: str) -> list[tuple[Any, ...]]:
                cursor.execute(sql)
                return list(cursor.fetchall())

            return take(query, vendor="postgresql", columns=columns, ledger=ledger)

    def swap(self, new: str, old: str | None, *, force: bool) -> None:
        """See base class."""
        self.server.swap(new, old, force=force)

    def remove(self, name: str) -> None:
        """See base class."""
        self.server.drop(name)
