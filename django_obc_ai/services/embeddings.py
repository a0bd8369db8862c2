"""Turning texts into vectors with a configured embedder, checked before use."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from django_obc_ai.backends.embedders import embedders
from django_obc_ai.exceptions import BadResponseError


class EmbeddingService:
    """Embed documents and queries with one embedder of ``OBC_AI["EMBEDDERS"]``."""

    def __init__(self, alias: str = "default") -> None:
        """Choose the embedder."""
        self.alias = alias

    @property
    def identity(self) -> str:
        """Return the embedder's identity; it pins the indexes built with it."""
        return embedders[self.alias].identity

    @property
    def dimension(self) -> int:
        """Return the number of components of a vector."""
        return embedders[self.alias].dimension

    @property
    def is_fitted(self) -> bool:
        """Return whether the embedder learns from the corpus."""
        return embedders[self.alias].is_fitted

    @property
    def minimum_similarity(self) -> float:
        """Return the cosine similarity below which results are noise."""
        return embedders[self.alias].minimum_similarity

    def fit(self, texts: Iterable[str]) -> bytes:
        """Return what the embedder learns from a whole corpus; b"" if it learns nothing."""
        embedder = embedders[self.alias]
        return embedder.fit(texts) if embedder.is_fitted else b""

    def embed_documents(self, texts: Sequence[str], *, state: bytes = b"") -> NDArray[np.float32]:
        """Return one vector per text, in order: (n, d) float32, unit length or zero.

        Raises:
            BadResponseError: The embedder returned another number or shape of vectors,
                or values that are not finite; nothing may be stored then.
        """
        return self._checked(embedders[self.alias].embed_documents(texts, state=state), len(texts))

    def embed_queries(self, texts: Sequence[str], *, state: bytes = b"") -> NDArray[np.float32]:
        """Return one vector per search text; see embed_documents()."""
        return self._checked(embedders[self.alias].embed_queries(texts, state=state), len(texts))

    def _checked(self, vectors: NDArray[np.float32], count: int) -> NDArray[np.float32]:
        wanted = (count, self.dimension)
        if vectors.shape != wanted or vectors.dtype != np.float32:
            raise BadResponseError(
                f"The embedder {self.alias!r} returned {vectors.shape} {vectors.dtype},"
                f" not {wanted} float32."
            )
        if not np.isfinite(vectors).all():
            raise BadResponseError(
                f"The embedder {self.alias!r} returned values that are no numbers."
            )
        return vectors
