"""Errors of provider backends that are none of ours, told without what they say."""

from __future__ import annotations

from django_obc_ai.exceptions import BadResponseError
from django_obc_ai.logs import events

#: Exceptions that stop the caller itself, by name, since their packages are optional.
_INTERRUPTIONS = frozenset({"SoftTimeLimitExceeded"})  # of Celery


def is_interruption(error: BaseException) -> bool:
    """Return whether an exception stops the caller itself, and is nobody's failure."""
    return not isinstance(error, Exception) or type(error).__name__ in _INTERRUPTIONS


def translate_foreign(error: Exception) -> BadResponseError:
    """Return our error for one that a backend let through, and log where it was raised.

    Neither is chained to it: its message may quote the prompt, and tracebacks end up in logs.
    """
    name = type(error).__name__
    events.GATEWAY_FOREIGN_ERROR.log(error=error)
    translated = BadResponseError(
        f"The provider backend failed with {name}. Its class should translate this into an error"
        " of django_obc_ai.exceptions. The log of django_obc_ai.gateway has the lines."
    )
    translated.retryable = False
    return translated
