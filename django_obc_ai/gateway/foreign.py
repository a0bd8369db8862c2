"""Errors of provider backends that are none of ours, told without what they say."""

from __future__ import annotations

import logging
import traceback

from django_obc_ai.exceptions import BadResponseError

logger = logging.getLogger("django_obc_ai.gateway")
_FRAMES = 8


def translate_foreign(error: Exception) -> BadResponseError:
    """Return our error for one that a backend let through, and log where it was raised.

    Neither is chained to it: its message may quote the prompt, and tracebacks end up in logs.
    """
    name = type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    places = " > ".join(f"{each.filename}:{each.lineno} in {each.name}" for each in frames)
    logger.error("The provider raised %s, which is none of ours, at %s.", name, places)
    translated = BadResponseError(
        f"The provider backend failed with {name}. Its class should translate this into an error"
        " of django_obc_ai.exceptions. The log of django_obc_ai.gateway has the lines."
    )
    translated.retryable = False
    return translated
