"""The lexical embedder that works everywhere: hashed words and word pieces.

It matches spelling, not meaning: a query in another language finds nothing. Features
are words and their character 4-grams, weighted by sublinear term frequency and by the
inverse document frequency that `fit` learned from the corpus. Each feature is added,
with random signs, to four of the vector's components (sparse random projection, Kane
and Nelson 2014), so that two unrelated texts come out near 0: a feature that had one
component to itself would match whatever else falls on it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from django_obc_ai.backends.embedders.base import BaseEmbedder
from django_obc_ai.exceptions import DimensionMismatchError

if TYPE_CHECKING:
    from numpy.typing import NDArray

MINIMUM_DIMENSION = 1_024
MAXIMUM_DIMENSION = 32_768  # 15 bits of a hash choose a component
_WORD = re.compile(r"\w+", re.UNICODE)
_PIECE_LENGTH = 4
_PIECE_WEIGHT = 0.35
_COMPONENTS = 4
_IDF_SLOTS = 16_384
_CACHED_LENGTH = 24  # longer words are rare, and queries could fill the memory with them


class HashingEmbedder(BaseEmbedder):
    """Hashed words and character 4-grams with corpus idf; lexical, numpy only."""

    is_fitted: ClassVar[bool] = True
    is_lexical: ClassVar[bool] = True
    #: Unrelated texts vary by about 1 / sqrt(1,024) around 0; six times that is no chance.
    minimum_similarity = 0.2

    def __init__(self, *, dimension: int = MINIMUM_DIMENSION) -> None:
        """Choose the number of components.

        Args:
            dimension: 1,024 to 32,768; more components tell more words apart.

        Raises:
            ValueError: dimension is out of range.
        """
        if not MINIMUM_DIMENSION <= dimension <= MAXIMUM_DIMENSION:
            raise ValueError(
                f"dimension {dimension} is not in {MINIMUM_DIMENSION} to {MAXIMUM_DIMENSION}"
            )
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
        """Return smoothed idf weights, log((1 + n) / (1 + df)) + 1, by hashed feature.

        Returns:
            (16384,) little-endian float32 as bytes; b"" for an empty corpus.
        """
        frequencies = np.zeros(_IDF_SLOTS, dtype=np.int64)
        count = 0
        for text in texts:
            hashes, _ = _features(text)
            frequencies[np.unique(_idf_slots(hashes))] += 1
            count += 1
        if not count:
            return b""
        weights = np.log((1 + count) / (1 + frequencies)) + 1
        return weights.astype("<f4").tobytes()

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """See `BaseEmbedder.count_tokens`. A token is a word."""
        return [len(_words(text)) for text in texts]

    def embed_documents(self, texts: Sequence[str], *, state: bytes = b"") -> NDArray[np.float32]:
        """See `BaseEmbedder.embed_documents`.

        Raises:
            DimensionMismatchError: The state is of another form.
        """
        idf = np.frombuffer(state, dtype="<f4") if state else np.ones(_IDF_SLOTS, dtype=np.float32)
        if idf.shape != (_IDF_SLOTS,):
            raise DimensionMismatchError(
                f"The fitted state has {idf.size} weights, not {_IDF_SLOTS}."
                " Rebuild the index: manage.py rebuild_vector_index"
            )
        vectors = np.zeros((len(texts), self._dimension), dtype=np.float32)
        for row, text in enumerate(texts):
            hashes, weights = _features(text)
            weights = weights * idf[_idf_slots(hashes)]
            for shift in range(0, 16 * _COMPONENTS, 16):
                part = (hashes >> np.uint64(shift)) & np.uint64(0xFFFF)
                components = ((part & np.uint64(0x7FFF)) % np.uint64(self._dimension)).astype(int)
                signs = np.where(part >> np.uint64(15), np.float32(1), np.float32(-1))
                np.add.at(vectors[row], components, signs * weights)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        np.divide(vectors, lengths, out=vectors, where=lengths > 0)
        return vectors


def _words(text: str) -> list[str]:
    folded = unicodedata.normalize("NFKD", text.casefold())
    return _WORD.findall("".join(c for c in folded if not unicodedata.combining(c)))


def _features(text: str) -> tuple[NDArray[np.uint64], NDArray[np.float32]]:
    """Return distinct features as hashes (f,) with their sublinear weights (f,)."""
    counts: dict[int, float] = {}
    for word in _words(text):
        is_short = len(word) <= _CACHED_LENGTH
        found = _cached_features(word) if is_short else _features_of_word(word)
        for feature, weight in found:
            counts[feature] = counts.get(feature, 0.0) + weight
    hashes = np.fromiter(counts.keys(), dtype=np.uint64, count=len(counts))
    values = np.fromiter(counts.values(), dtype=np.float32, count=len(counts))
    return hashes, np.log1p(values)


def _features_of_word(word: str) -> tuple[tuple[int, float], ...]:
    marked = f"<{word}>"
    pieces = {
        marked[start : start + _PIECE_LENGTH] for start in range(len(marked) - _PIECE_LENGTH + 1)
    }
    found = [(_hash(f"w{word}"), 1.0)]
    found += [(_hash(f"p{piece}"), _PIECE_WEIGHT) for piece in sorted(pieces)]
    return tuple(found)


_cached_features = lru_cache(maxsize=8_192)(_features_of_word)


def _hash(feature: str) -> int:
    return int.from_bytes(blake2b(feature.encode(), digest_size=8).digest(), "little")


def _idf_slots(hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
    # Multiplied first (Fibonacci hashing): the low bits choose components already.
    mixed = hashes * np.uint64(0x9E3779B97F4A7C15)
    return (mixed >> np.uint64(64 - 14)).astype(np.int64)
