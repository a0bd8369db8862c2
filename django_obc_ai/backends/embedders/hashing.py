"""The lexical embedder that works everywhere: hashed words and word pieces.

It matches spelling, not meaning: a query in another language finds nothing. Features
are words and their character 4-grams, hashed with CRC-32 into buckets (the "hashing
trick", Weinberger et al. 2009), weighted by sublinear term frequency and by the inverse
document frequency that `fit` learned from the corpus.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from django_obc_ai.backends.embedders.base import BaseEmbedder
from django_obc_ai.exceptions import DimensionMismatchError

if TYPE_CHECKING:
    from numpy.typing import NDArray

MINIMUM_DIMENSION = 1_024
_WORD = re.compile(r"\w+", re.UNICODE)
_PIECE_LENGTH = 4
_PIECE_WEIGHT = 0.35


class HashingEmbedder(BaseEmbedder):
    """Hashed words and character 4-grams with corpus idf; lexical, numpy only."""

    is_fitted: ClassVar[bool] = True
    is_lexical: ClassVar[bool] = True
    minimum_similarity = 0.05

    def __init__(self, *, dimension: int = MINIMUM_DIMENSION) -> None:
        """Choose the number of buckets.

        Args:
            dimension: At least 1,024; more buckets collide less and store more.

        Raises:
            ValueError: dimension is below 1,024.
        """
        if dimension < MINIMUM_DIMENSION:
            raise ValueError(f"dimension {dimension} is below {MINIMUM_DIMENSION}")
        self._dimension = dimension

    @property
    def identity(self) -> str:
        """See `BaseEmbedder.identity`."""
        return f"hashing-v1/{self._dimension}"

    @property
    def dimension(self) -> int:
        """See `BaseEmbedder.dimension`."""
        return self._dimension

    def fit(self, texts: Iterable[str]) -> bytes:
        """Return smoothed idf weights, log((1 + n) / (1 + df)) + 1, one per bucket.

        Returns:
            (d,) little-endian float32 as bytes; b"" for an empty corpus.
        """
        frequencies = np.zeros(self._dimension, dtype=np.int64)
        count = 0
        for text in texts:
            buckets, _ = self._features(text)
            frequencies[buckets] += 1
            count += 1
        if not count:
            return b""
        weights = np.log((1 + count) / (1 + frequencies)) + 1
        return weights.astype("<f4").tobytes()

    def embed_documents(self, texts: Sequence[str], *, state: bytes = b"") -> NDArray[np.float32]:
        """See `BaseEmbedder.embed_documents`.

        Raises:
            DimensionMismatchError: The state was fitted with another dimension.
        """
        vectors = np.zeros((len(texts), self._dimension), dtype=np.float32)
        for row, text in enumerate(texts):
            buckets, weights = self._features(text)
            vectors[row, buckets] = weights
        if state:
            idf = np.frombuffer(state, dtype="<f4")
            if idf.shape != (self._dimension,):
                raise DimensionMismatchError(
                    f"The fitted state has {idf.size} weights, the embedder {self._dimension}."
                    " Rebuild the index: manage.py rebuild_vector_index"
                )
            vectors *= idf
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        np.divide(vectors, lengths, out=vectors, where=lengths > 0)
        return vectors

    def _features(self, text: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return distinct buckets (f,) and their sublinear weights (f,)."""
        counts: dict[int, float] = {}
        folded = unicodedata.normalize("NFKD", text.casefold())
        plain = "".join(c for c in folded if not unicodedata.combining(c))
        for word in _WORD.findall(plain):
            bucket = zlib.crc32(word.encode()) % self._dimension
            counts[bucket] = counts.get(bucket, 0.0) + 1.0
            marked = f"<{word}>"
            for start in range(len(marked) - _PIECE_LENGTH + 1):
                piece = marked[start : start + _PIECE_LENGTH]
                bucket = zlib.crc32(b"\x00" + piece.encode()) % self._dimension
                counts[bucket] = counts.get(bucket, 0.0) + _PIECE_WEIGHT
        buckets = np.fromiter(counts.keys(), dtype=np.int64, count=len(counts))
        values = np.fromiter(counts.values(), dtype=np.float32, count=len(counts))
        return buckets, np.log1p(values)
