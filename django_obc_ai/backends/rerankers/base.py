"""The contract of a reranker."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from django_obc_ai.backends.base import BaseBackend

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class BaseReranker(BaseBackend, ABC):
    """A reranker reads a query and a text together, which vectors never do.

    That is slow and exact, so that it gets the best few results of a search and puts those in
    order. It must give equal texts equal scores whatever else is asked about: pages of one
    search are put in order one by one, and would not fit together otherwise.
    """

    #: How many of the best results it puts in order; those behind stay as they are.
    candidates: int = 50

    @abstractmethod
    def rerank(self, query: str, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return how well each text answers a query.

        Args:
            query: What was searched for.
            texts: n texts, at least one: the chunks that were found.

        Returns:
            (n,) float32 in the order of the texts, higher is better, in any range.

        Raises:
            Exception: Whatever it is, the search goes on without this reranker, and the log
                says so: a reranker makes results better and must not take them away.
        """
