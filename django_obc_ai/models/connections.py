"""Surviving a database that is busy or whose connection died in between."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from django.db import InterfaceError, OperationalError, connections

ResultT = TypeVar("ResultT")
_ATTEMPTS = 5
_sleep = time.sleep


def persist(alias: str, work: Callable[[], ResultT], *, attempts: int = _ATTEMPTS) -> ResultT:
    """Run work that may be repeated, again if the database was busy or had gone away.

    A provider may think for minutes, time enough for a server to close the connection.
    Inside the caller's own transaction nothing is repeated: that is the caller's to do.

    Raises:
        OperationalError: It failed to the last.
        InterfaceError: Likewise.
    """
    connection = connections[alias]
    for attempt in range(1, attempts + 1):
        try:
            return work()
        except (OperationalError, InterfaceError):
            if connection.in_atomic_block or attempt == attempts:
                raise
            connection.close_if_unusable_or_obsolete()
            _sleep(0.05 * 2**attempt)
    raise AssertionError("unreachable")
