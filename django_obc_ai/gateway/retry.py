"""The only retrier: which failures are tried again, when, and where.

Providers and SDKs are configured not to retry by themselves. One budget of attempts and one
deadline cover the whole call, over all the aliases of its chain. A failure is tried again only
if it is ``retryable``, both allow it, and the wait that the server asked for still fits. Inside
a transaction nothing is tried again: nobody sleeps with locks.
"""

from __future__ import annotations

import time
from typing import Any

import tenacity
from django.db import connections

from django_obc_ai.backends.providers.deadlines import shortened
from django_obc_ai.conf import get_settings
from django_obc_ai.exceptions import (
    BadResponseError,
    BudgetExceededError,
    ContentBlockedError,
    CostStoreError,
    InvalidRequestError,
    JobDeadlineError,
    ObcAIError,
    RateLimitError,
    StreamInterruptedError,
)

# Not wait_exponential_jitter: its parameters were renamed between releases.
_BACKOFF = tenacity.wait_combine(
    tenacity.wait_exponential(multiplier=0.5, max=20), tenacity.wait_random(0, 0.5)
)
#: Another provider would fail in the same way: the request itself is at fault, or what it is
#: paid from.
_REPEATED_ELSEWHERE = (
    BudgetExceededError,
    CostStoreError,
    ContentBlockedError,
    InvalidRequestError,
    JobDeadlineError,
    StreamInterruptedError,
)


class Patience:
    """What one call may still try and wait for."""

    def __init__(self, *, may_wait: bool, began: float) -> None:
        """Read the settings.

        Args:
            may_wait: False gives up after the first attempt; see `is_in_transaction`.
            began: When the call did, by `time.monotonic`.
        """
        self.may_wait = may_wait
        settings = get_settings().retry
        self._attempts = settings.attempts if may_wait else 1
        self._seconds = shortened(settings.deadline_seconds)
        self._began = began
        self._failures = 0
        #: Whether a limit may be waited for now; False while another alias may have room.
        self.waits_for_limits = True

    def remaining_seconds(self) -> float:
        """Return how long the call may still wait; 0 if it may not."""
        if not self.may_wait:
            return 0.0
        return max(0.0, self._began + self._seconds - time.monotonic())

    def seconds_for_limits(self) -> float:
        """Return how long the call may wait for a permit now."""
        return self.remaining_seconds() if self.waits_for_limits else 0.0

    def wait_before_next(self, error: BaseException, *, attempts: int, others: int) -> float | None:
        """Return the seconds to wait before the same alias is tried again; None: it is not.

        Args:
            error: How its last attempt ended.
            attempts: That the call has made, at any alias.
            others: How many aliases are left; each is kept an attempt.
        """
        if not (isinstance(error, ObcAIError) and error.retryable):
            return None
        self._failures += 1
        # What fails before anything is sent, as without the cost store, is no attempt; yet a try.
        if max(attempts, self._failures) >= self._attempts - others:
            return None
        if others and isinstance(error, RateLimitError):  # another has room now
            return None
        state = tenacity.RetryCallState(_NOBODY, None, (), {})
        state.attempt_number = self._failures
        wait = max(_BACKOFF(state), float(error.retry_after_seconds or 0.0))
        return wait if wait < self.remaining_seconds() else None

    def may_turn_from(self, error: BaseException, *, attempts: int) -> bool:
        """Return whether another alias may be asked after this failure."""
        if not isinstance(error, ObcAIError) or isinstance(error, _REPEATED_ELSEWHERE):
            return False
        if isinstance(error, BadResponseError) and not error.retryable:  # too long an answer
            return False
        return attempts < self._attempts and (attempts == 0 or self.remaining_seconds() > 0)


_NOBODY = tenacity.Retrying()  # strategies want to know whose state it is, and do not look


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
