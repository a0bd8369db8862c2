"""Surviving a database that is busy or whose connection died in between."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from django.db import InterfaceError, OperationalError, connections

from django_obc_ai.models.writer import transaction_of, transaction_on

ResultT = TypeVar("ResultT")
_ATTEMPTS = 5
_sleep = time.sleep


def persist(alias: str, work: Callable[[], ResultT], *, attempts: int = _ATTEMPTS) -> ResultT:
    """Run work that may be repeated, again if the database was busy or had gone away.

    A provider may think for minutes, time enough for a server to close the connection.
    Inside the caller's own transaction, autocommit switched off included, nothing is repeated:
    that is the caller's to do.

    Raises:
        OperationalError: It failed to the last.
        InterfaceError: Likewise.
    """
    connection = connections[alias]
    for attempt in range(1, attempts + 1):
        try:
            return work()
        except (OperationalError, InterfaceError):
            if attempt == attempts or transaction_of(alias) != "none":
                raise  # to close the connection would take back what the caller has written
            connection.close_if_unusable_or_obsolete()
            _sleep(0.05 * 2**attempt)
    raise AssertionError("unreachable")


def release_connections(*, keeps_lasting: bool = False) -> None:
    """Give back this thread's connections, but for those in a transaction.

    A thread that waits for a provider for minutes would keep them for as long.

    Args:
        keeps_lasting: Keep those that ``CONN_MAX_AGE`` lets outlive a request: they are this
            thread's, also while it does nothing.
    """
    for connection in connections.all(initialized_only=True):
        if keeps_lasting and connection.settings_dict["CONN_MAX_AGE"] != 0:
            continue
        if transaction_on(connection) == "none":
            connection.close()


def apart(work: Callable[[], ResultT]) -> ResultT:
    """Run work in a thread, which has connections of its own: outside the caller's transaction.

    The caller's context goes along, and with it the correlation id of what is logged.
    """
    context = contextvars.copy_context()
    found: list[ResultT] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            found.append(context.run(work))
        except BaseException as error:  # noqa: BLE001 - raised below
            failed.append(error)
        finally:
            connections.close_all()

    thread = threading.Thread(target=run, name="obc-ai-apart", daemon=True)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return found[0]
