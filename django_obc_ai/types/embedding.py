"""Turning texts into vectors with a provider."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from django_obc_ai.types.usage import Usage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

EmbeddingPurpose = Literal["document", "query", "similarity"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingRequest:
    """Texts to be turned into vectors in one paid call.

    Attributes:
        texts: At most the provider's ``embedding_batch_size``; none of them empty.
        model: The model asked for.
        purpose: What the vectors are for; asymmetric models embed documents and queries
            differently.
        dimension: Components wanted, or None for the model's own number.
    """

    texts: tuple[str, ...]
    model: str
    purpose: EmbeddingPurpose = "document"
    dimension: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingResponse:
    """What a provider returned for an `EmbeddingRequest`.

    Attributes:
        vectors: (n, d) float32, one row per text in the same order, L2-normalised.
        usage: Token counts; None if the provider reported none.
        model: The model that really answered; prices follow it.
    """

    vectors: NDArray[np.float32]
    usage: Usage | None = None
    model: str = ""
