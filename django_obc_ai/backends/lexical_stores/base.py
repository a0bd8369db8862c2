"""The contract of a lexical store."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from django_obc_ai.backends.base import BaseBackend
from django_obc_ai.exceptions import IndexNotReadyError
from django_obc_ai.types import ReplicaState, SearchHit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Texts = tuple[NDArray[np.int64], Sequence[str]]


class BaseLexicalStore(BaseBackend, ABC):
    """A replica of the chunk table that finds texts by their words.

    It is kept equal to the table as a vector store is, with texts in place of vectors: the
    chunk table is the truth, a store may forget everything at any time (`state` then returns
    None and it is filled again), and a chunk's text never changes. What a search returns must
    depend on what is held alone, not on the order in which it came. All methods are safe to
    call from many threads; a search sees the index before or after an `apply`, never half.
    """

    #: Folder the store writes to; None for stores without files. Checked by E008.
    path: str | None = None

    @abstractmethod
    def state(self, index: str) -> ReplicaState | None:
        """Return what moment of the index is held, or None if nothing is."""

    def load(
        self, index: str, state: ReplicaState, is_known: Callable[[ReplicaState], bool]
    ) -> None:
        """Take up what is kept on disk; see `BaseVectorStore.load`."""
        return

    def filling(self, index: str, state: ReplicaState) -> AbstractContextManager[None]:
        """Return a context in which one process of the machine fills the index.

        See `BaseVectorStore.filling`.
        """
        return nullcontext()

    @abstractmethod
    def reset(self, index: str, *, batches: Iterable[Texts], state: ReplicaState) -> None:
        """Replace the whole content of an index at once.

        Args:
            index: Name of the index.
            batches: Pairs of ids (n,) int64 and n texts; read once. If reading fails, nothing
                is replaced.
            state: The moment that this content is.
        """

    @abstractmethod
    def apply(
        self,
        index: str,
        *,
        ids: NDArray[np.int64],
        texts: Sequence[str],
        removed: Sequence[int],
        state: ReplicaState,
    ) -> None:
        """Add and remove chunks at once and move to a later moment.

        Ids that are held already are replaced; removed ids that are not held are
        ignored; an id in both is removed.

        Raises:
            IndexNotReadyError: The index is not held.
        """

    @abstractmethod
    def search(
        self,
        index: str,
        queries: Sequence[str],
        k: int,
        allowed_ids: Sequence[int] | NDArray[np.int64] | None = None,
    ) -> list[list[SearchHit]]:
        """Return the k best chunks for the words of each query.

        Args:
            index: Name of the index.
            queries: Any texts.
            k: Results per query, at least 1. Only chunks that hold a word of the query come
                back, so that there may be fewer.
            allowed_ids: Only these chunks count, if given; unknown ids are ignored.

        Returns:
            One list of SearchHit per query, best first, ties by rising id. Scores are above 0
            and compare within one query alone.

        Raises:
            IndexNotReadyError: The index is not held.
        """

    def make_empty(self) -> BaseLexicalStore:
        """Return another store in memory that scores alike, for one transaction's own view."""
        from django_obc_ai.backends.lexical_stores.bm25 import BM25LexicalStore

        return BM25LexicalStore()

    @abstractmethod
    def count(self, index: str) -> int:
        """Return how many chunks are held; 0 if the index is not."""

    @abstractmethod
    def drop(self, index: str) -> None:
        """Forget an index; do nothing if it is not held."""


def not_held(index: str) -> IndexNotReadyError:
    """Return the error for an index that a store does not hold."""
    return IndexNotReadyError(
        f"The lexical store does not hold the index {index!r}. Build it: manage.py ai_index {index}"
    )
