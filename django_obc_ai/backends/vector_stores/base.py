"""The contract of a vector store."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, ClassVar, Self

from django_obc_ai.backends.base import BaseBackend
from django_obc_ai.exceptions import DimensionMismatchError, IndexNotReadyError
from django_obc_ai.types import ReplicaState, SearchHit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Batch = tuple[NDArray[np.int64], NDArray[np.float32]]


class BaseVectorStore(BaseBackend, ABC):
    """A replica of the chunk table that finds the nearest vectors.

    The chunk table is the truth; a store may forget everything at any time (`state`
    then returns None and it is filled again). A chunk's vector never changes: an edited
    text becomes new chunks with new ids. All methods are safe to call from many threads;
    a search sees the index before or after an `apply`, never half of it.
    """

    #: Does it keep its content on disk, so that a new process starts warm?
    is_persistent: ClassVar[bool] = False
    #: Folder the store writes to; None for stores without files. Checked by E008.
    path: str | None = None
    #: Are its vectors in the index's own database, part of each index write, so that a
    #: search takes a queryset of visible rows (`search_rows`) instead of allowed ids?
    is_in_database: ClassVar[bool] = False
    #: Can it build an approximate index (`build_approximate`)?
    can_approximate: ClassVar[bool] = False

    def using(self, database: str) -> Self:
        """Return this store for the indexes of a database, an alias of ``DATABASES``.

        Stores outside the database hold the indexes of all of them, and return themselves.
        """
        return self

    @abstractmethod
    def state(self, index: str) -> ReplicaState | None:
        """Return what moment of the index is held, or None if nothing is."""

    def load(
        self, index: str, state: ReplicaState, is_known: Callable[[ReplicaState], bool]
    ) -> None:
        """Take up what is kept on disk, if that is nearer to a moment than what is held.

        Called before missing changes are read. Stores without files do nothing.

        Args:
            index: Name of the index.
            state: The moment to come near to; only its index and generation count.
            is_known: Whether the database's history has a moment. What is on disk may be
                of another history: a rolled-back write, a restored backup.
        """
        return

    def filling(self, index: str, state: ReplicaState) -> AbstractContextManager[None]:
        """Return a context in which one process of the machine fills the index.

        Others wait in it, and `load` what that one has written. Stores without files need
        not wait.
        """
        return nullcontext()

    @abstractmethod
    def reset(
        self, index: str, *, dimension: int, batches: Iterable[Batch], state: ReplicaState
    ) -> None:
        """Replace the whole content of an index at once.

        Args:
            index: Name of the index.
            dimension: d, the number of components of each vector.
            batches: Pairs of ids (n,) int64 and vectors (n, d) float32, rows
                L2-normalised or zero; read once.
            state: The moment that this content is.

        Raises:
            DimensionMismatchError: A batch has another dimension; nothing is replaced.
        """

    @abstractmethod
    def apply(
        self,
        index: str,
        *,
        ids: NDArray[np.int64],
        vectors: NDArray[np.float32],
        removed: Sequence[int],
        state: ReplicaState,
    ) -> None:
        """Add and remove chunks at once and move to a later moment.

        Ids that are held already are replaced; removed ids that are not held are
        ignored; an id in both is removed.

        Raises:
            DimensionMismatchError: The vectors have another dimension than the index.
            IndexNotReadyError: The index is not held.
        """

    @abstractmethod
    def search(
        self,
        index: str,
        vectors: NDArray[np.float32],
        k: int,
        allowed_ids: Sequence[int] | NDArray[np.int64] | None = None,
        *,
        is_exact: bool = True,
    ) -> list[list[SearchHit]]:
        """Return the k nearest chunks to each query.

        Args:
            index: Name of the index.
            vectors: (m, d) float32, rows L2-normalised.
            k: Results per query, at least 1. Fewer come back if fewer are held.
            allowed_ids: Only these chunks count, if given; unknown ids are ignored.
            is_exact: False lets a store that has an approximate index use it: some of the
                nearest may then be missing, but never fewer than k come back while k are
                held and allowed, and their scores are exact. Others search exactly.

        Returns:
            One list of SearchHit per query, best first, ties by rising id.

        Raises:
            DimensionMismatchError: d differs from the dimension of the index.
            IndexNotReadyError: The index is not held.
        """

    def search_rows(
        self,
        index: str,
        vectors: NDArray[np.float32],
        k: int,
        rows: Any,
        *,
        is_exact: bool = True,
    ) -> list[list[SearchHit]]:
        """Return the k nearest chunks of the objects in a queryset, in the same SQL.

        For stores with `is_in_database`; see `search` for everything but `rows`.

        Args:
            index: Name of the index.
            vectors: (m, d) float32, rows L2-normalised.
            k: Results per query, at least 1.
            rows: A queryset of the index's model in the index's database; unevaluated.
            is_exact: See `search`.
        """
        raise NotImplementedError(f"{type(self).__name__} does not search rows.")

    @property
    def approximate_settings(self) -> str:
        """Return what approximate index the options ask for, and how it is searched; "" for none.

        A recall that was measured with other settings allows nothing.
        """
        return ""

    @property
    def approximate_above(self) -> int:
        """Return from how many chunks on there is one; 0 if the options ask for none."""
        return 0

    def approximate_kind(self, index: str) -> str:
        """Return what approximate index is held, such as "HNSW, M 32"; "" if none is."""
        return ""

    def build_approximate(self, index: str) -> str:
        """Build the approximate index that the options ask for, and return its kind.

        May take minutes; searches and writes go on beside it. "" if the options ask for none,
        or the index has fewer chunks than they say.
        """
        return ""

    @abstractmethod
    def count(self, index: str) -> int:
        """Return how many chunks are held; 0 if the index is not."""

    @abstractmethod
    def drop(self, index: str) -> None:
        """Forget an index; do nothing if it is not held."""


def check_dimension(index: str, vectors: NDArray[np.float32], dimension: int) -> None:
    """Raise DimensionMismatchError for vectors (n, d) of another d."""
    if vectors.shape[-1] != dimension:
        raise DimensionMismatchError(
            f"Vectors with {vectors.shape[-1]} components do not fit the index {index!r},"
            f" which has {dimension}. Rebuild it: manage.py rebuild_vector_index --indices {index}"
        )


def check_queries(index: str, vectors: NDArray[np.float32], dimension: int) -> None:
    """Raise DimensionMismatchError for queries that are not (m, d)."""
    if vectors.ndim != 2:
        raise DimensionMismatchError(
            f"Queries for the index {index!r} have {vectors.ndim} axes; give (m, d)."
        )
    check_dimension(index, vectors, dimension)


def not_held(index: str) -> IndexNotReadyError:
    """Return the error for an index that a store does not hold."""
    return IndexNotReadyError(
        f"The vector store does not hold the index {index!r}. Build it: manage.py ai_index {index}"
    )
