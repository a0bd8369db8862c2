"""A time by which a call has to be over, beside what settings allow it: that of its job."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

#: With less than that left no provider answers, and who is late by less was cut by this time.
_LEAST_SECONDS = 0.1
_ends_at: ContextVar[float | None] = ContextVar("django_obc_ai_ends_at", default=None)


@contextmanager
def ending_within(seconds: float | None) -> Iterator[None]:
    """Give the calls that are made inside so much time, waits and retries included; None: any."""
    token = _ends_at.set(None if seconds is None else time.monotonic() + seconds)
    try:
        yield
    finally:
        _ends_at.reset(token)


def shortened(seconds: float) -> float:
    """Return a span of time that begins now, or what there is left of it."""
    ends_at = _ends_at.get()
    return seconds if ends_at is None else max(0.0, min(seconds, ends_at - time.monotonic()))


def is_over() -> bool:
    """Return whether there is a time by which all has to be over, and it has come."""
    ends_at = _ends_at.get()
    return ends_at is not None and ends_at - time.monotonic() < _LEAST_SECONDS
