"""SQLite: copying a database while others write, and putting another in its place."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from deploy.backups.fingerprint import Query
from deploy.backups.problems import Problem, Refused, no_room

BESIDE = ("-wal", "-shm", "-journal")


def connect(path: Path, mode: str = "rw", *, wait_seconds: float = 30) -> sqlite3.Connection:
    """Open a database that is there; it is never made."""
    address = f"file:{quote(str(path))}?mode={mode}"
    # isolation_level None: transactions begin where we say so.
    return sqlite3.connect(address, uri=True, timeout=wait_seconds, isolation_level=None)


def query_of(connection: sqlite3.Connection) -> Query:
    """Return how to read through a connection."""

    def query(sql: str) -> list[tuple[Any, ...]]:
        return connection.execute(sql).fetchall()

    return query


def copy(source: Path, target: Path) -> None:
    """Copy one moment of a database to a new file, by SQLite's own online backup.

    In one step: with WAL nobody waits for it; else writers wait, and none can change a page in
    between. The copy is checked page by page, and flushed to the disk by SQLite.

    Raises:
        Problem: There is no such database, it is damaged, or there is no room.
    """
    if not source.is_file():
        raise Problem(f"There is no database at {source}.")
    try:
        with closing(connect(source)) as old, closing(sqlite3.connect(target)) as new:
            target.chmod(0o600)
            old.backup(new, pages=-1)
            # One file: no -wal beside it has to be kept. A copy that is opened by the site turns
            # WAL on again.
            new.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.Error as error:
        raise _explained(error, source, target) from error
    check(target)


def check(path: Path) -> None:
    """Raise a Problem unless a database is whole."""
    try:
        with closing(connect(path, "ro")) as connection:
            faults = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(3)")]
    except sqlite3.Error as error:
        raise _explained(error, path, path) from error
    if faults != ["ok"]:
        raise Problem(f"{path} is damaged, says SQLite: {'; '.join(faults)[:300]}")


def _explained(error: sqlite3.Error, source: Path, target: Path) -> Problem:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    # A limit of file sizes comes as an input or output error.
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
        return no_room(target.parent, error)
    if code == sqlite3.SQLITE_BUSY:
        return Problem(f"{source} stayed locked for 30 seconds; somebody holds a transaction open.")
    return Problem(f"{source} cannot be read: {error}.")


def tables(path: Path) -> int | None:
    """Return how many tables there are; None if the file is damaged."""
    try:
        with closing(connect(path)) as connection:
            return int(connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0])
    except sqlite3.Error:
        return None


def users_of(path: Path) -> list[str]:
    """Return which other processes have a database open, as far as this user can see."""
    found = []
    wanted = {str(path), *(f"{path}{end}" for end in BESIDE)}
    for folder in Path("/proc").glob("[0-9]*"):
        if int(folder.name) == os.getpid():
            continue
        with suppress(OSError):
            handles = {os.readlink(each) for each in (folder / "fd").iterdir()}  # noqa: PTH115
            if handles & wanted:
                command = (
                    (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                )
                found.append(f"process {folder.name} ({command.strip()[:80]})")
    return found


def swap(new: Path, present: Path, old: Path) -> None:
    """Put a new file in the place of the present database, which is kept under another name.

    Killed at any moment, there is the one or the other under the name, whole: the present one is
    first made one file without a log beside it, under a lock that keeps everybody out; then it
    gets its second name; then the new file takes its first.
    """
    if tables(present) is None:
        _set_aside(present, old)
        os.replace(new, present)  # noqa: PTH105 - as os.link, which pathlib has the other way round
        return
    with closing(connect(present, wait_seconds=10)) as connection:
        try:
            mode = connection.execute("PRAGMA journal_mode=DELETE").fetchone()[0]
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            raise Refused(f"{present} is in use ({error}): stop the site.") from error
        if mode != "delete":
            raise Refused(f"{present} is in use (journal mode {mode}): stop the site.")
        os.link(present, old)
        os.replace(new, present)  # noqa: PTH105


def overwrite(new: Path, present: Path, old: Path) -> None:
    """Put new content into a database that others have open, in one transaction of SQLite's.

    They see the new content with their next statement. The present content is kept in a copy,
    which is made again while somebody writes.
    """
    with closing(connect(present)) as connection, closing(connect(new, "ro")) as source:
        for _ in range(20):
            before = connection.execute("PRAGMA data_version").fetchone()
            old.unlink(missing_ok=True)
            copy(present, old)
            if connection.execute("PRAGMA data_version").fetchone() == before:
                break
            time.sleep(0.1)
        else:
            old.unlink(missing_ok=True)
            raise Refused(f"{present} is being written all the time: stop the site.")
        try:
            source.backup(connection, pages=-1)
        except sqlite3.Error as error:
            raise _explained(error, present, present) from error
    new.unlink()


def _set_aside(present: Path, old: Path) -> None:
    """Keep a damaged database, or the logs of one that is gone: a new one must not find them."""
    if present.exists():
        os.link(present, old)
    for end in BESIDE:
        if (left := Path(f"{present}{end}")).exists():
            left.rename(f"{old}{end}")
