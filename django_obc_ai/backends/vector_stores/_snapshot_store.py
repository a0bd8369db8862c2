"""A vector store over snapshots on disk; see `backends/snapshots/stores`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from django_obc_ai.backends.snapshots.stores import SnapshotStore
from django_obc_ai.backends.vector_stores._content import Content, content_of
from django_obc_ai.backends.vector_stores._snapshots import VECTORS_KIND, Snapshot, save
from django_obc_ai.backends.vector_stores.base import BaseVectorStore, check_dimension, not_held
from django_obc_ai.exceptions import IndexNotReadyError
from django_obc_ai.types import ReplicaState

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from django_obc_ai.backends.snapshots.kinds import Kind
    from django_obc_ai.backends.vector_stores.base import Batch


class VectorSnapshotStore(SnapshotStore[Snapshot, Content], BaseVectorStore):
    """Everything but the search itself."""

    is_persistent: ClassVar[bool] = True
    _kind: ClassVar[Kind[Snapshot]] = VECTORS_KIND

    def __init__(self, path: str) -> None:
        """Name the folder of all indexes; nothing is created before something is written."""
        super().__init__(path)

    def reset(
        self, index: str, *, dimension: int, batches: Iterable[Batch], state: ReplicaState
    ) -> None:
        """See `BaseVectorStore.reset`."""
        writing = partial(save, index=index, dimension=dimension, state=state)
        self._replace(index, lambda folder: writing(folder, batches), state)

    def apply(
        self,
        index: str,
        *,
        ids: NDArray[np.int64],
        vectors: NDArray[np.float32],
        removed: Sequence[int],
        state: ReplicaState,
    ) -> None:
        """See `BaseVectorStore.apply`."""

        def change(held: Content) -> Content:
            check_dimension(index, vectors, held.dimension)
            return held.applied(np.asarray(ids, dtype=np.int64), vectors, removed, state)

        self._change(index, change)

    def _content_of(self, snapshot: Snapshot) -> Content:
        return content_of(snapshot)

    def _save(self, index: str, content: Content, folder: Path) -> None:
        save(
            folder,
            self._until_closing(content.blocks()),
            index=index,
            dimension=content.dimension,
            state=content.state,
            lineage="" if content.has_replaced else content.base.lineage,
        )

    def _not_held(self, index: str) -> IndexNotReadyError:
        return not_held(index)
