"""The id by which the records of one request, or of one task, are found together."""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

NONE = "-"
#: What proxies and tracers send: UUIDs, ``Root=1-…``, numbers. Nothing that could forge a line.
_VALID = re.compile(r"[A-Za-z0-9._:=+/@-]{1,128}")
_current: ContextVar[str] = ContextVar("django_obc_ai_correlation_id", default="")


def current() -> str:
    """Return the id of the request or task that this code runs for, "" outside of any.

    It is a context variable: threads of ``sync_to_async`` and tasks of asyncio see it; a thread
    or process of your own, or a queue, must be given it, for `bound` at the other end.
    """
    return _current.get()


@contextmanager
def bound(correlation_id: str = "") -> Iterator[str]:
    """Run a block under an id, and yield it; then the id before is back.

    Args:
        correlation_id: What `current` returned where the work was asked for. "", or what
            `is_valid` refuses, makes a new one.
    """
    found = correlation_id if is_valid(correlation_id) else make_id()
    token = _current.set(found)
    try:
        yield found
    finally:
        _current.reset(token)


def enter(correlation_id: str) -> None:
    """Set the id until `leave`, for a middleware: see there why that is no block."""
    _current.set(correlation_id)


def leave() -> None:
    """Forget the id."""
    _current.set("")


def is_valid(correlation_id: str) -> bool:
    """Return whether an id from outside may stand in a log: 1 to 128 harmless characters."""
    return _VALID.fullmatch(correlation_id) is not None


def make_id() -> str:
    """Return a new id, 32 hex digits."""
    return uuid.uuid4().hex


class CorrelationFilter(logging.Filter):
    """Give every record that passes a handler its ``correlation_id``, "-" if there is none."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let the record through."""
        if not hasattr(record, "correlation_id"):
            record.correlation_id = current() or NONE
        return True
