"""What makes an answer usable."""

from __future__ import annotations

import json

from django_obc_ai.exceptions import BadResponseError, ContentBlockedError
from django_obc_ai.types import GenerationRequest, ProviderResponse


def check_answer(response: ProviderResponse, request: GenerationRequest) -> None:
    """Refuse what the provider was paid for, and nobody can use.

    Raises:
        ContentBlockedError: The answer is marked as blocked.
        BadResponseError: The answer is empty, or JSON was asked for and this is none.
    """
    if response.finish_reason == "blocked":
        raise ContentBlockedError("The provider blocked the answer. Rephrase the request.")
    if not response.text.strip():
        raise _empty(response)
    if request.response_schema is None:
        return
    try:
        json.loads(response.text)
    except ValueError:
        failure = BadResponseError(
            "The provider was asked for JSON and answered something else, or was cut"
            f" (finish reason {response.finish_reason!r})."
        )
        failure.retryable = response.finish_reason == "stop"
        raise failure from None


def _empty(response: ProviderResponse) -> BadResponseError:
    if response.finish_reason == "length":
        message = (
            "The provider used up max_output_tokens before it wrote anything, probably on"
            " thinking. Raise that limit, or lower the thinking budget."
        )
    else:
        message = (
            "The provider finished without writing anything (finish reason"
            f" {response.finish_reason!r})."
        )
    error = BadResponseError(message)
    error.retryable = response.finish_reason == "stop"
    return error
