"""An embedder that needs no model: hashed character trigrams."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from django_obc_ai.backends.embedders import BaseEmbedder

if TYPE_CHECKING:
    from numpy.typing import NDArray


class TrigramEmbedder(BaseEmbedder):
    """Counts the three-letter pieces of a text."""

    is_lexical = True
    minimum_similarity = 0.1

    def __init__(self, *, dimension: int = 256) -> None:
        """Choose the number of components."""
        self._dimension = dimension

    @property
    def identity(self) -> str:
        """See `BaseEmbedder.identity`."""
        return f"trigrams-1/{self._dimension}"

    @property
    def dimension(self) -> int:
        """See `BaseEmbedder.dimension`."""
        return self._dimension

    def embed_documents(self, texts: Sequence[str], *, state: bytes = b"") -> NDArray[np.float32]:
        """See `BaseEmbedder.embed_documents`."""
        vectors = np.zeros((len(texts), self._dimension), dtype=np.float32)
        for row, text in enumerate(texts):
            padded = f"  {text.casefold()} " if text.strip() else ""
            for start in range(len(padded) - 2):
                piece = padded[start : start + 3]
                vectors[row, zlib.crc32(piece.encode()) % self._dimension] += 1
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        np.divide(vectors, lengths, out=vectors, where=lengths > 0)
        return vectors
