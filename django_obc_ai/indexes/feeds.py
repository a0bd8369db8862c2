"""What a replica of the chunk table is fed with: vectors or texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from django_obc_ai.backends.lexical_stores import BaseLexicalStore
from django_obc_ai.backends.vector_stores import BaseVectorStore
from django_obc_ai.backends.vector_stores.numpy import NumpyVectorStore
from django_obc_ai.types import ReplicaState

#: Chunk ids, and of each chunk what a feed's column holds. Any: bytes or text.
Rows: TypeAlias = Sequence[tuple[int, Any]]


class Feed(Protocol):
    """One store, and how rows of the chunk table are given to it."""

    #: Column of the chunk table.
    column: ClassVar[str]

    @property
    def store(self) -> BaseVectorStore | BaseLexicalStore:
        """Return the store."""

    def reset(
        self, index: str, *, dimension: int, batches: Iterable[Rows], state: ReplicaState
    ) -> None:
        """Replace the whole content of an index; see `BaseVectorStore.reset`."""

    def apply(
        self,
        index: str,
        *,
        dimension: int,
        rows: Rows,
        removed: Sequence[int],
        state: ReplicaState,
    ) -> None:
        """Add and remove chunks at once; see `BaseVectorStore.apply`."""


class VectorFeed:
    """Gives the chunks' vectors to a vector store."""

    column: ClassVar[str] = "vector"

    def __init__(self, store: BaseVectorStore) -> None:
        """Feed a store."""
        self.store = store

    def private(self) -> VectorFeed:
        """Return a feed of an empty store, for one transaction's own view."""
        return VectorFeed(NumpyVectorStore())

    def reset(
        self, index: str, *, dimension: int, batches: Iterable[Rows], state: ReplicaState
    ) -> None:
        """See `Feed.reset`."""
        pairs = (_vectors(rows, dimension) for rows in batches)
        self.store.reset(index, dimension=dimension, batches=pairs, state=state)

    def apply(
        self,
        index: str,
        *,
        dimension: int,
        rows: Rows,
        removed: Sequence[int],
        state: ReplicaState,
    ) -> None:
        """See `Feed.apply`."""
        ids, vectors = _vectors(rows, dimension)
        self.store.apply(index, ids=ids, vectors=vectors, removed=removed, state=state)


class TextFeed:
    """Gives the chunks' texts to a lexical store."""

    column: ClassVar[str] = "text"

    def __init__(self, store: BaseLexicalStore) -> None:
        """Feed a store."""
        self.store = store

    def private(self) -> TextFeed:
        """Return a feed of an empty store, for one transaction's own view."""
        return TextFeed(self.store.make_empty())

    def reset(
        self, index: str, *, dimension: int, batches: Iterable[Rows], state: ReplicaState
    ) -> None:
        """See `Feed.reset`."""
        self.store.reset(index, batches=_texts_of(batches), state=state)

    def apply(
        self,
        index: str,
        *,
        dimension: int,
        rows: Rows,
        removed: Sequence[int],
        state: ReplicaState,
    ) -> None:
        """See `Feed.apply`."""
        ids, texts = _texts(rows)
        self.store.apply(index, ids=ids, texts=texts, removed=removed, state=state)


def _ids(rows: Rows) -> NDArray[np.int64]:
    return np.fromiter((row[0] for row in rows), dtype=np.int64, count=len(rows))


def _vectors(rows: Rows, dimension: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    joined = b"".join(bytes(row[1]) for row in rows)
    vectors = np.frombuffer(joined, dtype="<f4").reshape(len(rows), dimension)
    return _ids(rows), vectors.astype(np.float32, copy=False)


def _texts(rows: Rows) -> tuple[NDArray[np.int64], list[str]]:
    return _ids(rows), [row[1] for row in rows]


def _texts_of(batches: Iterable[Rows]) -> Iterator[tuple[NDArray[np.int64], list[str]]]:
    for rows in batches:
        yield _texts(rows)
