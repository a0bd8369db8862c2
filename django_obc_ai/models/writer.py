"""Which connection writes the ledger: a row shall outlive its caller's rollback.

Outside a transaction that is the caller's connection, and so inside the transaction that a
``TestCase`` wraps around a test. Inside a caller's own transaction it is one connection of
this process alone, opened for the purpose.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal, TypeVar

from django.db import DatabaseError, InterfaceError, OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

ResultT = TypeVar("ResultT")
_PATIENCE_SECONDS = 5.0  # for another thread's single INSERT


def transaction_of(alias: str) -> Literal["none", "test", "caller"]:
    """Say whose transaction this thread is in on a database.

    Returns:
        "test" inside the transaction that a ``TestCase`` wraps around each test, whatever is
        opened within it; "caller" inside any other, autocommit switched off included.
    """
    return transaction_on(connections[alias])


def transaction_on(connection: BaseDatabaseWrapper) -> Literal["none", "test", "caller"]:
    """See transaction_of()."""
    if not connection.in_atomic_block:
        # Not get_autocommit(), which connects: the database may be down.
        is_open = connection.connection is not None
        commits = connection.autocommit if is_open else connection.settings_dict["AUTOCOMMIT"]
        return "none" if commits else "caller"
    # Any: atomic_blocks and its mark of a TestCase are what Django's own durable=True reads.
    blocks: list[Any] = connection.atomic_blocks
    return "test" if any(getattr(each, "_from_testcase", False) for each in blocks) else "caller"


def is_in_transaction(alias: str) -> bool:
    """Return whether rows are yet to be committed by the caller: in a ``TestCase``, by a block."""
    # Any: see transaction_on().
    blocks: list[Any] = connections[alias].atomic_blocks
    is_nested = any(not getattr(each, "_from_testcase", False) for each in blocks)
    return is_nested or transaction_of(alias) == "caller"


class _Writers:
    """The open connections of this process by alias, for one thread at a time."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.open: dict[str, BaseDatabaseWrapper] = {}
        #: What a fork brought along: belongs to the parent, must be neither used nor closed.
        self.inherited: list[BaseDatabaseWrapper] = []

    def forget(self) -> None:
        """Start anew in a forked child, whose copy of the lock may be taken for ever."""
        self.lock = threading.Lock()
        self.inherited += self.open.values()
        self.open = {}

    def get(self, alias: str) -> BaseDatabaseWrapper:
        source, known = connections[alias], self.open.get(alias)
        if known is not None and known.settings_dict != source.settings_dict:
            known.close()  # another database by now, such as a test's
            known = None
        if known is None:
            known = self.open[alias] = source.copy()
            known.inc_thread_sharing()
        known.close_if_unusable_or_obsolete()
        return known

    def close(self) -> None:
        for each in self.open.values():
            with suppress(DatabaseError, InterfaceError):
                each.close()
        self.open = {}


_writers = _Writers()
os.register_at_fork(after_in_child=_writers.forget)


def close_writers() -> None:
    """Close this process's writer connections; the next write opens them again."""
    with _writers.lock:
        _writers.close()


atexit.register(close_writers)


@contextmanager
def _borrowed(alias: str) -> Iterator[BaseDatabaseWrapper]:
    lock = _writers.lock
    if not lock.acquire(timeout=_PATIENCE_SECONDS):
        raise OperationalError("The writer connection is busy with another thread's row.")
    try:
        connection = _writers.get(alias)
        try:
            yield connection
        finally:
            if not connection.settings_dict["CONN_MAX_AGE"] or _is_test_run():
                connection.close()
    finally:
        lock.release()


def _is_test_run() -> bool:
    """Return whether a test runner is at work, which will want to drop the database."""
    mail = sys.modules.get("django.core.mail")
    return hasattr(mail, "outbox")


def with_writer(alias: str, work: Callable[[BaseDatabaseWrapper], ResultT]) -> ResultT:
    """Run one statement's work on the writer connection, in autocommit.

    With ``CONN_MAX_AGE`` 0, Django's default, it is closed at once; else it stays as long as
    Django would keep it. A connection that died meanwhile is opened anew, once.

    Raises:
        DatabaseError: The database refused it.
        InterfaceError: The connection failed twice.
    """
    with _borrowed(alias) as connection:
        try:
            return work(connection)
        except (OperationalError, InterfaceError):
            with suppress(DatabaseError, InterfaceError):
                connection.close()
            return work(connection)
