"""The contract of an embedder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar

from django_obc_ai.backends.base import BaseBackend
from django_obc_ai.exceptions import InvalidRequestError
from django_obc_ai.types import EmbeddingPurpose, EmbeddingRequest, EmbeddingResponse

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class BaseEmbedder(BaseBackend, ABC):
    """An embedder turns texts into unit vectors whose inner product is their similarity."""

    #: Does it learn corpus statistics with `fit` when an index is built?
    is_fitted: ClassVar[bool] = False
    #: Is it lexical: does it match words rather than meaning?
    is_lexical: ClassVar[bool] = False

    #: How an index is searched that does not say: "vector", "lexical" (words) or "hybrid".
    #: Hybrid measures better with every embedder here; see docs/howto/hybrid-search.md.
    search_mode: str = "hybrid"
    #: Results below this cosine similarity are noise for this embedder, in [-1, 1].
    minimum_similarity: float = -1.0

    @property
    @abstractmethod
    def identity(self) -> str:
        """Return a text that changes whenever the same text would get another vector.

        Names model and options that matter, never a path or a key. The fitted state is
        not part of it; the index stores that beside it.
        """

    @property
    @abstractmethod
    def dimension(self) -> int:
        """Return the number of components of a vector."""

    @abstractmethod
    def embed_documents(self, texts: Sequence[str], *, state: bytes = b"") -> NDArray[np.float32]:
        """Embed texts that are stored in an index.

        Args:
            texts: n texts, in any language; an empty text gets a zero vector.
            state: What `fit` returned when the index was built; b"" before any fit.

        Returns:
            (n, d) float32 in the order of the texts, rows L2-normalised or zero.
        """

    def embed_queries(self, texts: Sequence[str], *, state: bytes = b"") -> NDArray[np.float32]:
        """Embed search texts; differs from documents for models with query prefixes.

        Returns:
            (n, d) float32 in the order of the texts, rows L2-normalised or zero.
        """
        return self.embed_documents(texts, state=state)

    @property
    def max_tokens(self) -> int | None:
        """Return how many tokens of a document a vector can tell of; None: any number.

        As `count_tokens` counts them: without what the embedder adds itself. Longer texts
        are split before they are embedded. It changes with `identity` alone.
        """
        return None

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has as a document, without what is added to it.

        Here an estimate for models whose tokenizer is elsewhere: a token for every three
        bytes of UTF-8, rounded up, which is more than English and Filipino have. Called often
        and with few texts at a time. At most a token for each byte of the text in NFKD.
        """
        return [-(-len(text.strip().encode("utf-8", "replace")) // 3) for text in texts]

    def fit(self, texts: Iterable[str]) -> bytes:
        """Learn statistics of a whole corpus, read once and lazily; b"" if there are none."""
        return b""


class PaidEmbedder(BaseEmbedder):
    """An embedder whose texts cost money: it writes requests and reads replies.

    It has no way to a provider of its own. `EmbeddingService` sends what it writes through
    the gateway, where calls are held under the budgets, tried again, priced and logged.
    """

    #: Alias in ``OBC_AI["PROVIDERS"]`` that its requests are sent to.
    provider: str = "default"
    #: The model that its requests name; it needs a price.
    model: str = ""

    @abstractmethod
    def build_request(self, texts: Sequence[str], *, purpose: EmbeddingPurpose) -> EmbeddingRequest:
        """Return the request for one batch, of which no text is blank."""

    def read_response(self, response: EmbeddingResponse) -> NDArray[np.float32]:
        """Return the vectors of a reply: (n, d) float32, one row per text in their order."""
        return response.vectors

    def embed_documents(self, texts: Sequence[str], *, state: bytes = b"") -> NDArray[np.float32]:
        """Refuse: a call that nobody prices and logs is not made.

        Raises:
            InvalidRequestError: Always.
        """
        raise InvalidRequestError(
            f"{type(self).__name__} costs money and embeds through"
            " django_obc_ai.services.embeddings.EmbeddingService alone."
        )


def check_similarity(minimum_similarity: float) -> float:
    """Return the option if it is a cosine similarity.

    Raises:
        ValueError: It is not in [-1, 1].
    """
    if not -1 <= minimum_similarity <= 1:
        raise ValueError(f"minimum_similarity {minimum_similarity} is not in [-1, 1]")
    return minimum_similarity
