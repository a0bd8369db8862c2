"""Google's embedding models; paid, so everything it sends goes through the gateway."""

from __future__ import annotations

from collections.abc import Sequence

from django_obc_ai.backends.embedders.base import PaidEmbedder, check_similarity
from django_obc_ai.types import EmbeddingPurpose, EmbeddingRequest

MAXIMUM_DIMENSION = 3_072
#: Of gemini-embedding-001, as Google's page on embeddings states it.
MAXIMUM_TOKENS = 2_048


class GeminiEmbedder(PaidEmbedder):
    """An embedding model of a configured provider, by default gemini-embedding-001.

    Any provider that embeds will do. Documents and queries are told apart by the purpose
    of the request, which the provider translates into the service's task types.
    """

    def __init__(
        self,
        *,
        provider: str = "default",
        model: str = "gemini-embedding-001",
        dimension: int = 768,
        minimum_similarity: float = -1.0,
    ) -> None:
        """Check the options; nothing is asked before the first text is embedded.

        Args:
            provider: Alias in ``OBC_AI["PROVIDERS"]``, which holds the key.
            model: The embedding model; it needs a price.
            dimension: Components of a vector, 1 to 3,072. Google recommends 768, 1,536 and
                3,072; fewer take less memory and find a little less.
            minimum_similarity: Results below it are noise, in [-1, 1]; measure it.

        Raises:
            ValueError: An option is missing or out of its range.
        """
        if not model:
            raise ValueError("model is empty; name an embedding model")
        if not 1 <= dimension <= MAXIMUM_DIMENSION:
            raise ValueError(f"dimension {dimension} is not in 1 to {MAXIMUM_DIMENSION}")
        self.provider = provider
        self.model = model.removeprefix("models/")
        self._dimension = dimension
        self.minimum_similarity = check_similarity(minimum_similarity)

    @property
    def identity(self) -> str:
        """See `BaseEmbedder.identity`."""
        return f"gemini/{self.model[:80]}/{self._dimension}"

    @property
    def dimension(self) -> int:
        """See `BaseEmbedder.dimension`."""
        return self._dimension

    @property
    def max_tokens(self) -> int:
        """See `BaseEmbedder.max_tokens`. Tokens are estimated, since counting is a call."""
        return MAXIMUM_TOKENS

    def build_request(self, texts: Sequence[str], *, purpose: EmbeddingPurpose) -> EmbeddingRequest:
        """See `PaidEmbedder.build_request`."""
        return EmbeddingRequest(
            texts=tuple(texts), model=self.model, purpose=purpose, dimension=self._dimension
        )
