"""A provider on top of a vendor's SDK."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django_obc_ai.backends.providers import BaseProvider
from django_obc_ai.exceptions import (
    AuthenticationError,
    InvalidRequestError,
    ModelNotFoundError,
    ProviderError,
    RateLimitError,
    TransientError,
)
from django_obc_ai.types import (
    FinishReason,
    GenerationRequest,
    ProviderResponse,
    StreamChunk,
    Usage,
)

_FINISH_REASONS: dict[str, FinishReason] = {"done": "stop", "limit": "length"}
_ERRORS: dict[int, type[ProviderError]] = {
    400: InvalidRequestError,
    401: AuthenticationError,
    404: ModelNotFoundError,
    429: RateLimitError,
}


class ParrotProvider(BaseProvider):
    """Asks the parrot, once per call."""

    sdk_module = "obc_ai_test_backends.parrot"
    requires_api_key = True
    supports_schema = True
    supports_streaming = True
    generation_options = frozenset({"voice"})

    def __init__(
        self, *, api_key: str, model: str = "parrot-1", max_output_tokens: int = 200
    ) -> None:
        """Keep the options; the client is made at the first call."""
        self._api_key = api_key
        self.model = model
        self.max_output_tokens = max_output_tokens

    def generate(self, request: GenerationRequest) -> ProviderResponse:
        """See `BaseProvider.generate`."""
        sdk = self.import_sdk()
        try:
            reply = sdk.Client(self._api_key).say(**self._arguments(request))
        except sdk.ParrotError as error:
            raise _translated(error) from None
        return ProviderResponse(
            text="".join(reply.words),
            finish_reason=_FINISH_REASONS[reply.ended_because],
            usage=_usage(reply),
            model=reply.model,
        )

    def stream(self, request: GenerationRequest) -> Iterator[StreamChunk]:
        """See `BaseProvider.stream`."""
        sdk = self.import_sdk()
        try:
            for piece in sdk.Client(self._api_key).say_slowly(**self._arguments(request)):
                if isinstance(piece, str):
                    yield StreamChunk(text=piece)
                else:
                    yield StreamChunk(
                        usage=_usage(piece),
                        finish_reason=_FINISH_REASONS[piece.ended_because],
                        model=piece.model,
                    )
        except sdk.ParrotError as error:
            raise _translated(error) from None

    def count_tokens(self, request: GenerationRequest) -> int:
        """See `BaseProvider.count_tokens`."""
        return int(self.import_sdk().count(_whole_prompt(request)))

    def _arguments(self, request: GenerationRequest) -> dict[str, Any]:
        return {
            "prompt": _whole_prompt(request),
            "model": request.model or self.model,
            "limit": self.bound_output_tokens(request),
            "voice": request.options.get("voice", "plain"),
            "schema": request.response_schema,
        }


def _whole_prompt(request: GenerationRequest) -> str:
    turns = [message.text for message in request.history]
    return "\n".join(filter(None, [request.system, *turns, request.render_prompt()]))


def _usage(reply: Any) -> Usage:
    return Usage(input_tokens=reply.tokens_in, output_tokens=reply.tokens_out)


def _translated(error: Any) -> ProviderError:
    # Only the status: this vendor's message quotes the prompt. For the same reason the
    # original is not chained ("from None"); chain it where an SDK's messages are harmless.
    kind = _ERRORS.get(error.status, TransientError)
    return kind(f"The parrot answered {error.status}.", retry_after_seconds=error.retry_after)
