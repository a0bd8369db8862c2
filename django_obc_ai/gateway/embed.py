"""Paid embeddings: the same books, holds, retries and ledger as a text's.

A request is one call of the provider and one `AIOperation`, however many texts it holds. The
vector of a single query may come from the response cache; documents never do, since the index
keeps their vectors itself.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
from django.utils.asyncio import async_unsafe

from django_obc_ai.exceptions import (
    BadResponseError,
    BudgetExceededError,
    ConfigurationError,
    ObcAIError,
)
from django_obc_ai.gateway import prices
from django_obc_ai.gateway.book import CallBook
from django_obc_ai.gateway.call import run
from django_obc_ai.types import (
    CallInfo,
    EmbeddingRequest,
    EmbeddingResponse,
    GenerationRequest,
    PriceRow,
    ProviderResponse,
    Usage,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SYNC = "Embedding would block this event loop, and nothing was sent. Use sync_to_async()."
_noted: ContextVar[list[UUID] | None] = ContextVar("noted", default=None)


@contextmanager
def noting_operations(operations: list[UUID]) -> Iterator[None]:
    """Add the keys of the operations that are caused inside to a list.

    Embedders return vectors alone, and a caller may want to name all that its answer cost.
    """
    token = _noted.set(operations)
    try:
        yield
    finally:
        _noted.reset(token)


class EmbeddingBook(CallBook):
    """The books of one embedding request over all its attempts."""

    operation = "embeddings"
    keeps_content = False  # documents are in the index, and a vector is no answer
    may_turn = False  # another model's vectors are of another space

    def __init__(self, request: EmbeddingRequest, info: CallInfo) -> None:
        """See `CallBook`. Its request stands for the texts in cache key and prompt hash."""
        self.embedding = request
        self.response: EmbeddingResponse | None = None
        stand_in = GenerationRequest(
            prompt="\n".join(request.texts),
            model=request.model,
            options={"embed": request.purpose, "dimension": request.dimension},
        )
        super().__init__(stand_in, info)

    def prepare(self) -> None:
        """See `CallBook.prepare`; a provider that does not embed ends the call, too."""
        super().prepare()
        if self.outcome is None and not self.provider.supports_embedding:
            self.finish(
                error=ConfigurationError(
                    f"OBC_AI['PROVIDERS'][{self.info.provider!r}] does not embed texts.",
                    hint="Name the alias of a provider that does in the embedder's option"
                    " 'provider'.",
                )
            )

    def again(self, info: CallInfo) -> CallBook:
        """See `CallBook.again`."""
        return EmbeddingBook(self.embedding, info)

    def _traced(self) -> dict[str, Any]:
        return {"dimension": self.embedding.dimension}

    def send(self) -> EmbeddingResponse:
        """See `CallBook.send`."""
        return self.provider.embed(self.embedding)

    def ceiling_of(self, request: GenerationRequest, price: PriceRow) -> Decimal:
        """Return the price of the most tokens that the texts can be; there is no answer."""
        return prices.cost_of(price, Usage(input_tokens=self.most_tokens_of(request)))

    def most_tokens_of(self, request: GenerationRequest) -> int:
        """Return how many tokens the texts can be at most."""
        bound = self.provider.bound_tokens
        return sum(bound(GenerationRequest(prompt=text)) for text in self.embedding.texts)

    def _fitted(self, price: PriceRow | None, refusal: BudgetExceededError) -> None:
        """Return None: there is no answer that could be shorter."""

    def accept(self, response: Any) -> ProviderResponse:
        """Settle an attempt by what the provider counted, and check its vectors.

        Returns:
            What the cache keeps, and those who asked the same take: the vectors as text; no text
            for documents, whose vectors the index keeps itself.

        Raises:
            BadResponseError: There is not one vector per text, or not of the size asked for.
        """
        answer: EmbeddingResponse = response
        self._count(answer.usage, answer.model)
        check_vectors(answer.vectors, self.embedding)
        self.response = answer
        text = _encode(answer.vectors) if self.info.use_cache else ""
        return ProviderResponse(text=text, usage=answer.usage, model=answer.model)


def check_vectors(vectors: NDArray[np.float32], request: EmbeddingRequest) -> None:
    """Refuse vectors that do not belong to a request one by one; they are never merged.

    Raises:
        BadResponseError: See above.
    """
    rows, wanted = len(request.texts), request.dimension
    is_fitting = vectors.ndim == 2 and len(vectors) == rows
    if not is_fitting or wanted not in (None, vectors.shape[1]):
        raise BadResponseError(
            f"The provider returned vectors of shape {vectors.shape} for {rows} texts and"
            f" {wanted or 'any number of'} components. None of them is used."
        )


@async_unsafe(_SYNC)
def embed(request: EmbeddingRequest, info: CallInfo) -> EmbeddingResponse:
    """Turn texts into vectors with one paid call, logged whether it succeeds or not.

    Args:
        request: At most the provider's ``embedding_batch_size`` texts, none of them blank.
        info: With ``use_cache`` only for a single query; its answer may then be a stored one.

    Raises:
        ObcAIError: The call failed; its cost is booked.
        ConfigurationError: The provider is misconfigured or does not embed.
    """
    book = EmbeddingBook(request, info)
    if (noted := _noted.get()) is not None:
        noted.append(info.operation_id)
    outcome = run(book)
    if isinstance(outcome.error, (ObcAIError, ConfigurationError)):
        raise outcome.error
    if book.response is not None:
        return book.response
    vectors = _decode(outcome.text, len(request.texts))
    check_vectors(vectors, request)
    return EmbeddingResponse(vectors=vectors, usage=Usage(), model=outcome.model_used)


def _encode(vectors: NDArray[np.float32]) -> str:
    """Return vectors as text, since that is what the response cache keeps."""
    return base64.b64encode(vectors.astype("<f4").tobytes()).decode()


def _decode(text: str, rows: int) -> NDArray[np.float32]:
    try:
        flat = np.frombuffer(base64.b64decode(text, validate=True), dtype="<f4")
        return flat.astype(np.float32).reshape(rows, -1)
    except (binascii.Error, ValueError) as error:
        raise BadResponseError("The response cache holds no vector under this query.") from error
