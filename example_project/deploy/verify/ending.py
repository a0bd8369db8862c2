"""How a verification begins and ends: alone, and without leaving anybody who is let in."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from deploy.verify.people import close_all

#: Of PostgreSQL's advisory locks: "obc-veri" as a number.
_LOCK = int.from_bytes(b"obc-veri", "big")
#: A database that is started again is back within this.
_TRIES, _WAIT_SECONDS = 5, 3.0


class AnotherRuns(Exception):
    """Another verification runs with the same database."""


@contextmanager
def alone() -> Iterator[None]:
    """Keep others away who would use the same users; where no database answers, nobody is.

    Raises:
        AnotherRuns: Somebody else was first.
    """
    from django.db import Error, connections

    # One of its own: others may be closed meanwhile.
    connection = connections.create_connection("default")
    folder, is_free = None, True
    try:
        if connection.vendor == "postgresql":
            with suppress(Error), connection.cursor() as cursor:
                cursor.execute("SELECT pg_try_advisory_lock(%s)", [_LOCK])
                is_free = bool(cursor.fetchone()[0])
        elif connection.vendor == "sqlite":
            with suppress(FileNotFoundError):
                path = Path(connection.settings_dict["NAME"]).parent
                folder = os.open(path, os.O_RDONLY)
                try:
                    fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    is_free = False
        if not is_free:
            raise AnotherRuns("another verification runs with this database: wait for its end")
        yield
    finally:
        with suppress(Error):
            connection.close()
        if folder is not None:
            os.close(folder)


def close_left_over() -> None:
    """Let out who was left over by a run that was killed, if the database answers."""
    with suppress(Exception):
        close_all()


def let_out(names: Sequence[str]) -> str:
    """Let all out; return what to tell if that is not possible, and "" if it is.

    Args:
        names: Who was let in.
    """
    if not names:
        return ""
    from django.db import connections

    for left in reversed(range(_TRIES)):
        try:
            close_all()
        except Exception as error:  # noqa: BLE001 - the database is away in many ways
            for connection in connections.all():
                with suppress(Exception):
                    connection.close()  # it may be broken, and the next one whole
            if not left:
                return (
                    f"these users are still let in: {', '.join(names)}. The database did not answer"
                    f" at the end ({type(error).__name__}): run it again when it does, which lets"
                    " them out"
                )
            time.sleep(_WAIT_SECONDS)
        else:
            break
    return ""
