"""The reference double: order by how much of the query a text holds. For tests and examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from django_obc_ai.backends.lexical_stores.words import query_words, words_of
from django_obc_ai.backends.rerankers.base import BaseReranker

if TYPE_CHECKING:
    from numpy.typing import NDArray


class OverlapReranker(BaseReranker):
    """Scores a text by the share of the query's distinct words that it holds, in [0, 1]."""

    def __init__(self, *, candidates: int = BaseReranker.candidates) -> None:
        """Choose how many results are put in order.

        Args:
            candidates: At least 1.

        Raises:
            ValueError: candidates is below 1.
        """
        if candidates < 1:
            raise ValueError("candidates must be at least 1")
        self.candidates = candidates

    def rerank(self, query: str, texts: Sequence[str]) -> NDArray[np.float32]:
        """See `BaseReranker.rerank`."""
        wanted = set(query_words(query))
        shares = [len(wanted & set(words_of(text))) / max(1, len(wanted)) for text in texts]
        return np.array(shares, dtype=np.float32)
