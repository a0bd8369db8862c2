"""What the tests of both Gemini SDKs share."""

from __future__ import annotations

from typing import Any

from django_obc_ai.types import GenerationRequest
from tests.servers.gemini import BilledTokens

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
