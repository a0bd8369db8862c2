"""What the tests of both Gemini SDKs share."""

from __future__ import annotations

from typing import Any

import pytest

from django_obc_ai.exceptions import (
    AuthenticationError,
    InvalidRequestError,
    ModelNotFoundError,
    ProviderTimeoutError,
    QuotaExhaustedError,
    RateLimitError,
    TransientError,
)
from django_obc_ai.types import GenerationRequest
from tests.servers.gemini import BilledTokens, replies

PROMPT = "Where is the coast? Kalilintad-4711"
MARK = "Kalilintad-4711"


def ask(prompt: str = PROMPT, **fields: Any) -> GenerationRequest:
    return GenerationRequest(prompt=prompt, **fields)


def billed(usage: Any) -> BilledTokens:
    """A usage of ours in the form of the server's journal."""
    return BilledTokens(
        prompt=usage.input_tokens,
        cached=usage.cached_tokens,
        candidates=usage.output_tokens,
        thoughts=usage.thinking_tokens,
        tool=usage.tool_tokens,
    )


def chain(error: BaseException | None) -> list[BaseException]:
    """An error and all that a traceback would show with it."""
    found: list[BaseException] = []
    while error is not None:
        found.append(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return found


#: Reply, class of the error, whether it may be tried again, seconds that the server asks for.
REFUSALS: list[Any] = [
    pytest.param(*case, id=case[0].name)
    for case in (
        (replies.bad_key(), AuthenticationError, False, None),
        (replies.error(400), InvalidRequestError, False, None),
        (replies.error(401), AuthenticationError, False, None),
        (replies.error(402), QuotaExhaustedError, False, None),
        (replies.error(403), AuthenticationError, False, None),
        (replies.error(404), ModelNotFoundError, False, None),
        (replies.error(408), ProviderTimeoutError, True, None),
        (replies.error(429), RateLimitError, True, None),
        (replies.rate_limited("53s"), RateLimitError, True, 53.0),
        (replies.rate_limited("1.5s", name="half seconds"), RateLimitError, True, 1.5),
        (replies.daily_quota(), QuotaExhaustedError, False, None),
        (replies.error(499), TransientError, True, None),
        (replies.error(500), TransientError, True, None),
        (replies.error(501), InvalidRequestError, False, None),
        (replies.error(502), TransientError, True, None),
        (replies.error(503), TransientError, True, None),
        (
            replies.error(503, name="503 in an array", error_shape="array"),
            TransientError,
            True,
            None,
        ),
        (replies.error(504), ProviderTimeoutError, True, None),
    )
]
