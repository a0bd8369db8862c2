"""Embeddings that repeat, and that are alike for texts that share words.

Each word has a fixed vector of 3072 numbers; a text has the normalised sum of its words' vectors.
A shorter embedding is the beginning of the long one and so, as with the real models, no longer of
length 1.
"""

from __future__ import annotations

import hashlib
import math
import re
from functools import lru_cache

DIMENSIONS = 3072


@lru_cache(maxsize=4096)
def _word(word: str) -> bytes:
    return hashlib.shake_256(word.encode()).digest(DIMENSIONS)


@lru_cache(maxsize=512)
def embed(text: str, dimensions: int = DIMENSIONS) -> tuple[float, ...]:
    """Return the first `dimensions` numbers of a text's vector, six digits each."""
    words = re.findall(r"\w+", text.lower()) or [text]
    middle = 127.5 * len(words)
    sums = [sum(column) - middle for column in zip(*map(_word, words), strict=True)]
    length = math.sqrt(math.fsum(value * value for value in sums)) or 1.0
    return tuple(round(value / length, 6) for value in sums[:dimensions])
