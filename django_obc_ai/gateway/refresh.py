"""Making answers anew in the background, while the old ones are served.

A few daemon threads that live as long as their work. What is not done here is lost without harm:
the next call that is served an old answer asks for it again, and once that is too old, a call
makes its own.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from django.db import connections

from django_obc_ai.conf import get_settings
from django_obc_ai.logs import correlation, events
from django_obc_ai.models.writer import transaction_of

_MOST_THREADS = 2


class _Refreshes:
    """The keys that threads of this process are at work on."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Start anew, also in a forked child, whose parent's threads are not here."""
        self._lock = threading.Lock()
        self._keys: set[str] = set()

    def take(self, key: str) -> bool:
        with self._lock:
            if key in self._keys or len(self._keys) >= _MOST_THREADS:
                return False
            self._keys.add(key)
            return True

    def give_back(self, key: str) -> None:
        with self._lock:
            self._keys.discard(key)


_refreshes = _Refreshes()
os.register_at_fork(after_in_child=_refreshes.forget)


def refresh_later(work: Callable[[], object], key: str) -> bool:
    """Do some work in a thread of its own, unless this process is at it or busy.

    Nothing is raised; what fails is logged. Connections to databases that the thread opened are
    closed at its end.

    Args:
        work: Called once, with the caller's correlation id.
        key: What it makes anew.

    Returns:
        Whether it was begun. It is not where no thread can be started, and where the thread would
        wait for the caller: in the transaction of a ``TestCase``, which nobody else sees, and in
        any transaction on SQLite, which has one writer.
    """
    if not _is_possible() or not _refreshes.take(key):
        return False
    correlation_id = correlation.current()

    def run() -> None:
        try:
            with correlation.bound(correlation_id):
                try:
                    work()
                except Exception as error:  # noqa: BLE001 - nobody waits for it
                    events.CACHE_REFRESH_FAILED.log(about=type(error).__name__, error=error)
        finally:
            connections.close_all()
            _refreshes.give_back(key)

    try:
        threading.Thread(target=run, name="obc-ai-refresh", daemon=True).start()
    except RuntimeError as error:  # at the end of the interpreter, or without threads
        _refreshes.give_back(key)
        events.CACHE_REFRESH_FAILED.log(about="start", error=error)
        return False
    return True


def _is_possible() -> bool:
    alias = get_settings().database
    where = transaction_of(alias)
    return where == "none" or (where == "caller" and connections[alias].vendor != "sqlite")
