"""The only retrier: which failures are tried again, and when.

Providers and SDKs are configured not to retry by themselves. A failure is tried again
only if it is ``retryable``, attempts and deadline allow it, and the wait that the server
asked for still fits. Inside a transaction nothing is tried again: nobody sleeps with locks.
"""

from __future__ import annotations

import time
from typing import Any

import tenacity
from django.db import connections

from django_obc_ai.conf import get_settings
from django_obc_ai.exceptions import ObcAIError

_sleep = time.sleep
# Not wait_exponential_jitter: its parameters were renamed between releases.
_BACKOFF = tenacity.wait_combine(
    tenacity.wait_exponential(multiplier=0.5, max=20), tenacity.wait_random(0, 0.5)
)


class _Wait(tenacity.wait.wait_base):
    """The longer of exponential backoff with jitter and the server's own delay."""

    def __call__(self, retry_state: tenacity.RetryCallState) -> float:
        """Return seconds."""
        outcome = retry_state.outcome
        error = outcome.exception() if outcome is not None else None
        asked = getattr(error, "retry_after_seconds", None) or 0.0
        return max(_BACKOFF(retry_state), float(asked))


def _is_retryable(error: BaseException) -> bool:
    return isinstance(error, ObcAIError) and error.retryable


_RETRY = tenacity.retry_if_exception(_is_retryable)


def policy(*, may_wait: bool) -> tenacity.Retrying:
    """Return a fresh retrier from ``OBC_AI["RETRY"]``; it raises the last error unchanged.

    Args:
        may_wait: False gives up after the first failure; see `is_in_transaction`.
    """
    return tenacity.Retrying(
        stop=_stop(may_wait), wait=_Wait(), retry=_RETRY, reraise=True, sleep=_sleep
    )


def apolicy(*, may_wait: bool) -> tenacity.AsyncRetrying:
    """See policy(). Waits without blocking the loop."""
    return tenacity.AsyncRetrying(stop=_stop(may_wait), wait=_Wait(), retry=_RETRY, reraise=True)


def is_in_transaction() -> bool:
    """Return whether the caller holds a transaction open on any database of this thread.

    Sleeping there would keep its locks for as long as the provider likes. The transaction
    that a ``TestCase`` wraps around a test does not count.
    """
    # Any: atomic_blocks and its mark of a TestCase are what Django's own durable=True reads.
    open_: list[Any] = list(connections.all(initialized_only=True))
    return any(
        not getattr(block, "_from_testcase", False)
        for connection in open_
        for block in connection.atomic_blocks
    )


def _stop(may_wait: bool) -> tenacity.stop.stop_base:
    """Give up after the attempts, or where the wait would end past the deadline."""
    if not may_wait:
        return tenacity.stop_after_attempt(1)
    settings = get_settings().retry
    return tenacity.stop_any(
        tenacity.stop_after_attempt(settings.attempts),
        tenacity.stop_before_delay(settings.deadline_seconds),
    )
