"""The contract of a language-model provider."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from typing import ClassVar

from asgiref.sync import sync_to_async

from django_obc_ai.backends.base import BaseBackend
from django_obc_ai.exceptions import InvalidRequestError
from django_obc_ai.types import (
    EmbeddingRequest,
    EmbeddingResponse,
    GenerationRequest,
    ProviderResponse,
    StreamChunk,
)

#: Bound of the answer when neither the call nor the provider's options name one.
DEFAULT_MAX_OUTPUT_TOKENS = 8_192
_TOKENS_PER_TURN = 16
_PLACEHOLDERS = ("your-", "your_", "changeme", "xxxx", "<", "...")


class BaseProvider(BaseBackend, ABC):
    """A provider turns a `GenerationRequest` into a `ProviderResponse`.

    Providers send exactly one request per call: no hidden retry, no automatic
    continuation. They translate every SDK error into an `ObcAIError`, with ``usage`` set
    where the failed call is billed, and put no prompt text or key into messages.
    """

    #: Do calls cost nothing, by declaration of whoever wrote the backend?
    is_free: ClassVar[bool] = False
    #: Does it answer without any language model? Such answers are labelled.
    is_offline: ClassVar[bool] = False
    #: Is ``api_key`` an option that must not be empty?
    requires_api_key: ClassVar[bool] = False
    #: Can it answer in the shape of a JSON Schema?
    supports_schema: ClassVar[bool] = False
    #: Does `stream` deliver text before the answer is complete?
    supports_streaming: ClassVar[bool] = False
    #: Does `embed` turn texts into vectors?
    supports_embedding: ClassVar[bool] = False
    #: What it means that `ping` returned True.
    ping_meaning: ClassVar[str] = "It was asked, free of charge, and accepts."
    #: Texts that one call of `embed` takes at most.
    embedding_batch_size: ClassVar[int] = 100
    #: Its ``gen_ai.provider.name`` in traces, a well-known one where the conventions of
    #: OpenTelemetry have it; "" takes the alias.
    telemetry_name: ClassVar[str] = ""
    #: Names of the extra keyword arguments that `GenerationRequest.options` may hold.
    generation_options: ClassVar[frozenset[str]] = frozenset()

    #: The model asked for when the call names none.
    model: str = ""
    #: Upper bound of an answer, thinking included, when the call names none.
    max_output_tokens: int = DEFAULT_MAX_OUTPUT_TOKENS

    def get_ready(self) -> None:
        """Import the SDK and make what needs no network; called before each attempt, so be quick.

        What a first call would have to wait for is not to fall between an attempt's permit and its
        request: limits count by the permit.

        Raises:
            ConfigurationError: It cannot be done.
        """

    @abstractmethod
    def generate(self, request: GenerationRequest) -> ProviderResponse:
        """Send the request once and return the answer.

        Raises:
            ProviderError: One of its subclasses, by the kind of failure.
        """

    def stream(self, request: GenerationRequest) -> Iterator[StreamChunk]:
        """Yield the answer in pieces; the last chunk has usage and finish_reason.

        Raises:
            StreamInterruptedError: The stream ended without a finish_reason.
        """
        response = self.generate(request)
        yield StreamChunk(
            text=response.text,
            usage=response.usage,
            finish_reason=response.finish_reason,
            model=response.model,
        )

    @abstractmethod
    def count_tokens(self, request: GenerationRequest) -> int:
        """Return the prompt's tokens as the provider would count them."""

    def embed(self, request: EmbeddingRequest) -> EmbeddingResponse:
        """Turn texts into vectors with one request.

        Raises:
            InvalidRequestError: There are more texts than ``embedding_batch_size``, or the
                provider does not embed at all.
            ProviderError: One of its other subclasses, by the kind of failure.
        """
        raise InvalidRequestError(f"{type(self).__name__} does not embed texts.")

    def ping(self) -> bool:
        """Ask the provider, without spending, whether it accepts the key and has the model.

        Returns:
            False if there is no way to ask without spending.

        Raises:
            ProviderError: It was asked and refused, or cannot be reached.
        """
        return False

    @classmethod
    def find_key_fault(cls, api_key: str) -> str:
        """Return what is wrong with the shape of a key, "" if nothing; asks nobody."""
        if api_key != api_key.strip() or any(each.isspace() for each in api_key):
            return "holds white space"
        if api_key[:1] in "\"'" and api_key:
            return "begins with a quotation mark"
        if any(each in api_key.lower() for each in _PLACEHOLDERS):
            return "looks like a placeholder"
        return ""

    async def agenerate(self, request: GenerationRequest) -> ProviderResponse:
        """See generate(). Runs in a thread unless the provider has native async."""
        return await sync_to_async(self.generate, thread_sensitive=False)(request)

    async def astream(self, request: GenerationRequest) -> AsyncIterator[StreamChunk]:
        """See stream(). Each step runs in a thread unless the provider has native async."""
        iterator = self.stream(request)

        def advance() -> StreamChunk | None:
            return next(iterator, None)

        step = sync_to_async(advance, thread_sensitive=False)
        try:
            while (chunk := await step()) is not None:
                yield chunk
        finally:
            close = getattr(iterator, "close", None)
            if close is not None:
                await sync_to_async(close, thread_sensitive=False)()

    def bound_tokens(self, request: GenerationRequest) -> int:
        """Return an upper bound of the prompt's tokens, without asking anybody.

        A tokenizer with byte fallback never makes more tokens than there are UTF-8
        bytes; a constant per turn covers role markers.
        """
        texts = [request.system, request.render_prompt(), *(m.text for m in request.history)]
        if request.response_schema is not None:
            texts.append(str(request.response_schema))
        return sum(len(text.encode()) + _TOKENS_PER_TURN for text in texts)

    def bound_output_tokens(self, request: GenerationRequest) -> int:
        """Return the answer's upper bound in tokens, thinking included."""
        return (
            self.max_output_tokens
            if request.max_output_tokens is None
            else request.max_output_tokens
        )
