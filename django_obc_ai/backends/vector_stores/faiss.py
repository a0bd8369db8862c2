"""Exact search over snapshots on disk that all processes of a machine share.

Each process maps the newest snapshot of an index and keeps what changed since in memory: new
rows, and a mask of removed ones. When that grows, one process writes the next snapshot beside
the old one. See docs/explanation/search-index.md.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar
from uuid import UUID

import numpy as np
from django.conf import settings

from django_obc_ai.backends.vector_stores._content import Content, content_of
from django_obc_ai.backends.vector_stores._exact import best
from django_obc_ai.backends.vector_stores._folders import IndexFolder, uuids_of
from django_obc_ai.backends.vector_stores._scan import Scanner
from django_obc_ai.backends.vector_stores._snapshots import (
    BadSnapshotError,
    Snapshot,
    verify,
)
from django_obc_ai.backends.vector_stores.base import (
    BaseVectorStore,
    check_dimension,
    check_queries,
    not_held,
)
from django_obc_ai.exceptions import ConfigurationError, IndexNotReadyError
from django_obc_ai.logs import events
from django_obc_ai.types import ReplicaState, SearchHit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from django_obc_ai.backends.vector_stores.base import Batch

_RETRY_SECONDS = 60.0
#: How long a process waits while another one reads a whole index from the database.
_FILL_SECONDS = 300.0
_DROP_SECONDS = 10.0
_stores: weakref.WeakSet[FaissVectorStore] = weakref.WeakSet()


class FaissVectorStore(BaseVectorStore):
    """Exact cosine search; vectors are on disk and in memory once for all processes."""

    extra: ClassVar[str] = "faiss"
    sdk_module: ClassVar[str] = "faiss"
    is_persistent: ClassVar[bool] = True

    def __init__(self, *, path: str | os.PathLike[str] | None = None, threads: int = 2) -> None:
        """Choose where the files are.

        Args:
            path: Folder of the snapshots, on a local disk; created when first needed. None
                is ``BASE_DIR / "var" / "vectors"``.
            threads: Threads of one search, at least 1.

        Raises:
            ConfigurationError: There is neither a path nor a BASE_DIR.
            ValueError: threads is below 1.
        """
        if path is None:
            base = getattr(settings, "BASE_DIR", None)
            if not base:
                raise ConfigurationError(
                    "FaissVectorStore has no folder for its files.",
                    hint="Give OPTIONS['path'], or set BASE_DIR.",
                    check_id="E004",
                )
            path = Path(base) / "var" / "vectors"
        if threads < 1:
            raise ValueError("threads must be at least 1")
        self.path = os.fspath(path)
        self._root = Path(self.path)
        self._threads = threads
        self._contents: dict[str, Content] = {}
        self._folders: dict[tuple[str, UUID], IndexFolder] = {}
        self._looked: dict[str, tuple[UUID, int]] = {}
        self._retry_at: dict[str, float] = {}
        self._scanner: Scanner | None = None
        self._folds: dict[str, threading.Thread] = {}
        self._is_closing = False
        self._lock = threading.Lock()
        _stores.add(self)

    def state(self, index: str) -> ReplicaState | None:
        """See `BaseVectorStore.state`."""
        content = self._find(index)
        return None if content is None else content.state

    def load(
        self, index: str, state: ReplicaState, is_known: Callable[[ReplicaState], bool]
    ) -> None:
        """See `BaseVectorStore.load`."""
        folder = self._folder(index, state.index_uuid)
        changed = folder.changed_ns()
        held = self._contents.get(index)
        lineage = (state.index_uuid, state.generation)
        is_same = held is not None and (held.state.index_uuid, held.state.generation) == lineage
        if is_same and self._looked.get(index) == (state.index_uuid, changed):
            return
        is_same = held is not None and is_same and is_known(held.state)

        def is_wanted(found: ReplicaState) -> bool:
            if found.generation != state.generation:
                return False
            if is_same and held is not None and found.version <= held.base.state.version:
                return False
            return is_known(found)

        snapshot = folder.usable(is_wanted)
        if snapshot is not None:
            self._take(index, snapshot, is_same=is_same)
        self._looked[index] = (state.index_uuid, changed)

    @contextmanager
    def filling(self, index: str, state: ReplicaState) -> Iterator[None]:
        """See `BaseVectorStore.filling`."""
        try:
            with self._folder(index, state.index_uuid).lock(wait_seconds=_FILL_SECONDS):
                yield
        except OSError as error:
            raise _not_writable(index, error) from error

    def reset(
        self, index: str, *, dimension: int, batches: Iterable[Batch], state: ReplicaState
    ) -> None:
        """See `BaseVectorStore.reset`."""
        folder = self._folder(index, state.index_uuid)
        try:
            with folder.lock(wait_seconds=_FILL_SECONDS) as is_writer:
                snapshot = folder.write(
                    batches,
                    dimension=dimension,
                    state=state,
                    is_published=is_writer,
                    is_history_new=True,
                )
        except OSError as error:
            raise _not_writable(index, error) from error
        with self._lock:
            self._contents[index] = content_of(snapshot)

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
        self._held(index)
        with self._lock:
            content = self._contents.get(index)
            if content is None:
                raise not_held(index)
            check_dimension(index, vectors, content.dimension)
            content = content.applied(np.asarray(ids, dtype=np.int64), vectors, removed, state)
            self._contents[index] = content
        if content.is_worth_folding:
            self._fold_later(index)

    def search(
        self,
        index: str,
        vectors: NDArray[np.float32],
        k: int,
        allowed_ids: Sequence[int] | NDArray[np.int64] | None = None,
    ) -> list[list[SearchHit]]:
        """See `BaseVectorStore.search`."""
        content = self._held(index)
        check_queries(index, vectors, content.dimension)
        found = content.nearest(self._get_scanner(), vectors, k, allowed_ids)
        return [best(scored, k) for scored in found]

    def count(self, index: str) -> int:
        """See `BaseVectorStore.count`."""
        content = self._find(index)
        return 0 if content is None else content.count

    def drop(self, index: str) -> None:
        """See `BaseVectorStore.drop`; the files go too, for all processes."""
        with self._lock:
            self._contents.pop(index, None)
        for uuid in uuids_of(self._root, index):
            folder = self._folder(index, uuid)
            with suppress(OSError), folder.lock(wait_seconds=_DROP_SECONDS):
                folder.remove_all()

    def close(self) -> None:
        """Forget everything in memory; the files stay."""
        self._is_closing = True
        for thread in list(self._folds.values()):
            thread.join()
        with self._lock:
            self._contents.clear()
            self._looked.clear()
            scanner, self._scanner = self._scanner, None
        if scanner is not None:
            scanner.close()
        self._is_closing = False

    def fold(self, index: str) -> bool:
        """Write the next snapshot of an index, beside running searches.

        Returns:
            Whether it was written; not, if nothing changed or another process is at it.
        """
        content = self._contents.get(index)
        if content is None or not content.changes:
            return False
        folder = self._folder(index, content.state.index_uuid)
        try:
            with folder.lock(wait_seconds=0) as is_writer:
                if not is_writer or folder.has_newer(content.base.state):
                    return False
                verify(content.base)
                snapshot = folder.write(
                    self._until_closing(content.blocks()),
                    dimension=content.dimension,
                    state=content.state,
                )
        except BadSnapshotError as error:
            folder.set_aside(content.base.folder, str(error))
            with self._lock:
                self._contents.pop(index, None)
            return False
        with self._lock:
            now = self._contents.get(index)
            if now is not None and now.base is content.base:
                is_later = np.arange(now.delta.used) >= content.delta.used
                self._contents[index] = now.on(snapshot, is_later=is_later)
        return True

    def _fold_later(self, index: str) -> None:
        with self._lock:
            if index in self._folds or time.monotonic() < self._retry_at.get(index, 0.0):
                return
            # A daemon: ended at any point, it leaves a usable folder.
            thread = threading.Thread(target=self._fold_quietly, args=[index], daemon=True)
            self._folds[index] = thread
        thread.start()

    def _until_closing(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        for batch in batches:
            if self._is_closing:
                raise _ClosingError
            yield batch

    def _fold_quietly(self, index: str) -> None:
        try:
            is_written = self.fold(index)
        except _ClosingError:
            is_written = True
        except Exception as error:  # noqa: BLE001 - whatever it is, searches go on from memory
            events.VECTOR_STORES_SNAPSHOT_NOT_WRITTEN.log(about=index, error=error, index=index)
            is_written = False
        with self._lock:
            if not is_written:
                self._retry_at[index] = time.monotonic() + _RETRY_SECONDS
            self._folds.pop(index, None)

    def _take(self, index: str, snapshot: Snapshot, *, is_same: bool) -> None:
        with self._lock:
            now = self._contents.get(index)
            if is_same and now is not None and snapshot.state.version <= now.state.version:
                delta = now.delta
                is_later = delta.versions[: delta.used] > snapshot.state.version
                self._contents[index] = now.on(snapshot, is_later=is_later)
            else:
                self._contents[index] = content_of(snapshot)

    def _find(self, index: str) -> Content | None:
        """Return what is held, or else what is found on the disk."""
        content = self._contents.get(index)
        if content is not None and not content.base.files.is_touched():
            return content
        folders = [self._folder(index, uuid) for uuid in uuids_of(self._root, index)]
        for folder in sorted(folders, key=lambda each: -each.changed_ns()):
            if (snapshot := folder.usable(lambda _: True)) is not None:
                return self._exchange(index, content, content_of(snapshot))
        return self._exchange(index, content, None)

    def _exchange(self, index: str, old: Content | None, new: Content | None) -> Content | None:
        """Hold something else, unless another thread was faster; return what is held."""
        with self._lock:
            if self._contents.get(index) is old:
                self._contents.pop(index, None)
                if new is not None:
                    self._contents[index] = new
            return self._contents.get(index)

    def _held(self, index: str) -> Content:
        content = self._find(index)
        if content is None:
            raise not_held(index)
        return content

    def _folder(self, index: str, uuid: UUID) -> IndexFolder:
        key = (index, uuid)
        found = self._folders.get(key)
        if found is None:
            found = self._folders.setdefault(key, IndexFolder(self._root, index, uuid))
        return found

    def _get_scanner(self) -> Scanner:
        scanner = self._scanner
        if scanner is None:
            scanner = self._scanner = Scanner(self.import_sdk(), self._threads)
        return scanner

    def _after_fork(self) -> None:
        self._lock = threading.Lock()
        self._folds = {}
        if self._scanner is not None:
            self._scanner.after_fork()


class _ClosingError(Exception):
    """The store is being closed; the snapshot is written another time."""


def _after_fork() -> None:
    for store in _stores:
        store._after_fork()


os.register_at_fork(after_in_child=_after_fork)


def _not_writable(index: str, error: OSError) -> IndexNotReadyError:
    return IndexNotReadyError(
        f"The vector store cannot write the index {index!r}: {error.strerror}. Free space, or"
        " let Django's user write to OBC_AI['VECTOR_STORES'][…]['OPTIONS']['path']."
    )
