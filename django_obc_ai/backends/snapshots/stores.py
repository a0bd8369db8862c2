"""A store over snapshots on disk that all processes of a machine share.

Each process maps the newest snapshot of an index and keeps what changed since in memory: what
came, and a mask of what went. When that grows, one process writes the next snapshot beside the
old one. See docs/explanation/search-index.md.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar
from uuid import UUID

from django_obc_ai.backends.snapshots.files import BadSnapshotError
from django_obc_ai.backends.snapshots.folders import IndexFolder, uuids_of
from django_obc_ai.backends.snapshots.kinds import Kind, SnapshotT, verify
from django_obc_ai.exceptions import IndexNotReadyError
from django_obc_ai.types import ReplicaState

_RETRY_SECONDS = 60.0
#: How long a process waits while another one reads a whole index from the database.
_FILL_SECONDS = 300.0
_DROP_SECONDS = 10.0
#: The next snapshot is due after this share of the rows changed, within these bounds.
_FOLD_SHARE = 16
_FOLD_ROWS = (1_024, 16_384)
_stores: weakref.WeakSet[SnapshotStore[Any, Any]] = weakref.WeakSet()  # Any: of every kind
ItemT = TypeVar("ItemT")


class Content(Protocol[SnapshotT]):
    """What a search reads. A change makes another one; a running search keeps its own."""

    @property
    def base(self) -> SnapshotT | None:
        """Return the snapshot it stands on; None if everything is in memory."""

    @property
    def state(self) -> ReplicaState:
        """Return the moment that it is."""

    @property
    def count(self) -> int:
        """Return how many chunks count."""

    @property
    def changes(self) -> int:
        """Return how far it is from its snapshot, in chunks."""

    def on(self, base: SnapshotT) -> Self:
        """Return the same moment on another snapshot of its own past."""


ContentT = TypeVar("ContentT", bound=Content[Any])  # Any: of every kind


class SnapshotStore(Generic[SnapshotT, ContentT]):
    """Everything but searches and what changes are made of."""

    #: What its snapshots are.
    _kind: ClassVar[Kind[Any]]  # Any: a class variable cannot be generic

    def __init__(self, path: str | None) -> None:
        """Name the folder of all indexes; nothing is created before something is written.

        Args:
            path: None keeps everything in memory.
        """
        self.path = path
        self._contents: dict[str, ContentT] = {}
        self._folders: dict[tuple[str, UUID], IndexFolder[SnapshotT]] = {}
        self._looked: dict[str, tuple[UUID, int]] = {}
        self._retry_at: dict[str, float] = {}
        self._folds: dict[str, threading.Thread] = {}
        self._is_closing = False
        self._lock = threading.Lock()
        _stores.add(self)

    @abstractmethod
    def _content_of(self, snapshot: SnapshotT) -> ContentT:
        """Return a snapshot as it is, without any change."""

    @abstractmethod
    def _save(self, index: str, content: ContentT, folder: Path) -> None:
        """Write what counts in a content as files of a snapshot."""

    @abstractmethod
    def _not_held(self, index: str) -> IndexNotReadyError:
        """Return the error for an index that is not held."""

    def state(self, index: str) -> ReplicaState | None:
        """See `BaseVectorStore.state`."""
        content = self._find(index)
        return None if content is None else content.state

    def load(
        self, index: str, state: ReplicaState, is_known: Callable[[ReplicaState], bool]
    ) -> None:
        """See `BaseVectorStore.load`."""
        if self.path is None:
            return
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
            base = held.base if is_same and held is not None else None
            if base is not None and found.version <= base.state.version:
                return False
            return is_known(found)

        snapshot = folder.usable(is_wanted)
        if snapshot is not None:
            self._take(index, snapshot, is_same=is_same)
        self._looked[index] = (state.index_uuid, changed)

    @contextmanager
    def filling(self, index: str, state: ReplicaState) -> Iterator[None]:
        """See `BaseVectorStore.filling`."""
        if self.path is None:
            yield
            return
        try:
            with self._folder(index, state.index_uuid).lock(wait_seconds=_FILL_SECONDS):
                yield
        except OSError as error:
            raise self._kind.not_writable(index, error) from error

    def count(self, index: str) -> int:
        """See `BaseVectorStore.count`."""
        content = self._find(index)
        return 0 if content is None else content.count

    def drop(self, index: str) -> None:
        """See `BaseVectorStore.drop`; the files go too, for all processes."""
        with self._lock:
            self._contents.pop(index, None)
        for folder in self._all_folders(index):
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
        self._is_closing = False

    def fold(self, index: str) -> bool:
        """Write the next snapshot of an index, beside running searches.

        Returns:
            Whether it was written; not, if nothing changed or another process is at it.
        """
        content = self._contents.get(index)
        base = None if content is None else content.base
        if content is None or base is None or not content.changes:
            return False
        folder = self._folder(index, content.state.index_uuid)
        try:
            with folder.lock(wait_seconds=0) as is_writer:
                if not is_writer or folder.has_newer(base.state):
                    return False
                verify(base)
                snapshot = folder.write(
                    lambda scratch: self._save(index, content, scratch), state=content.state
                )
        except BadSnapshotError as error:
            folder.set_aside(base.folder, str(error))
            with self._lock:
                self._contents.pop(index, None)
            return False
        with self._lock:
            now = self._contents.get(index)
            if now is not None and now.base is base:
                self._contents[index] = now.on(snapshot)
        return True

    def _replace(self, index: str, save: Callable[[Path], None], state: ReplicaState) -> ContentT:
        """Write the first snapshot of a history, and hold that."""
        folder = self._folder(index, state.index_uuid)
        try:
            with folder.lock(wait_seconds=_FILL_SECONDS) as is_writer:
                snapshot = folder.write(
                    save, state=state, is_published=is_writer, is_history_new=True
                )
        except OSError as error:
            raise self._kind.not_writable(index, error) from error
        content = self._content_of(snapshot)
        with self._lock:
            self._contents[index] = content
        return content

    def _change(self, index: str, change: Callable[[ContentT], ContentT]) -> None:
        """Hold what a function makes of what is held, and fold it if that is due."""
        self._held(index)
        with self._lock:
            held = self._contents.get(index)
            if held is None:
                raise self._not_held(index)
            content = self._contents[index] = change(held)
        if content.base is not None and is_worth_folding(content.changes, content.count):
            self._fold_later(index)

    def _fold_later(self, index: str) -> None:
        with self._lock:
            if index in self._folds or time.monotonic() < self._retry_at.get(index, 0.0):
                return
            # A daemon: ended at any point, it leaves a usable folder.
            thread = threading.Thread(target=self._fold_quietly, args=[index], daemon=True)
            self._folds[index] = thread
        thread.start()

    def _until_closing(self, blocks: Iterable[ItemT]) -> Iterator[ItemT]:
        for block in blocks:
            if self._is_closing:
                raise ClosingError
            yield block

    def _fold_quietly(self, index: str) -> None:
        try:
            is_written = self.fold(index)
        except ClosingError:
            is_written = True
        except Exception as error:  # noqa: BLE001 - whatever it is, searches go on from memory
            self._kind.not_written.log(about=index, error=error, index=index)
            is_written = False
        with self._lock:
            if not is_written:
                self._retry_at[index] = time.monotonic() + _RETRY_SECONDS
            self._folds.pop(index, None)

    def _take(self, index: str, snapshot: SnapshotT, *, is_same: bool) -> None:
        with self._lock:
            now = self._contents.get(index)
            if is_same and now is not None and snapshot.state.version <= now.state.version:
                self._contents[index] = now.on(snapshot)
            else:
                self._contents[index] = self._content_of(snapshot)

    def _find(self, index: str) -> ContentT | None:
        """Return what is held, or else what is found on the disk."""
        content = self._contents.get(index)
        if content is not None and (content.base is None or not content.base.files.is_touched()):
            return content
        folders = self._all_folders(index)
        for folder in sorted(folders, key=lambda each: -each.changed_ns()):
            if (snapshot := folder.usable(lambda _: True)) is not None:
                return self._exchange(index, content, self._content_of(snapshot))
        return self._exchange(index, content, None)

    def _exchange(self, index: str, old: ContentT | None, new: ContentT | None) -> ContentT | None:
        """Hold something else, unless another thread was faster; return what is held."""
        with self._lock:
            if self._contents.get(index) is old:
                self._contents.pop(index, None)
                if new is not None:
                    self._contents[index] = new
            return self._contents.get(index)

    def _held(self, index: str) -> ContentT:
        content = self._find(index)
        if content is None:
            raise self._not_held(index)
        return content

    def _all_folders(self, index: str) -> list[IndexFolder[SnapshotT]]:
        """Return the folders of an index, one for each database it may be of."""
        if self.path is None:
            return []
        return [self._folder(index, uuid) for uuid in uuids_of(Path(self.path), index)]

    def _folder(self, index: str, uuid: UUID) -> IndexFolder[SnapshotT]:
        key = (index, uuid)
        found = self._folders.get(key)
        if found is None:
            folder = IndexFolder(self._kind, Path(self.path or ""), index, uuid)
            found = self._folders.setdefault(key, folder)
        return found

    def _after_fork(self) -> None:
        self._lock = threading.Lock()
        self._folds = {}


class ClosingError(Exception):
    """The store is being closed; the snapshot is written another time."""


def is_worth_folding(changes: int, rows: int) -> bool:
    """Return whether changes cost searches more than the next snapshot is worth."""
    least, most = _FOLD_ROWS
    return changes > max(least, min(most, rows // _FOLD_SHARE))


def _after_fork() -> None:
    for store in _stores:
        store._after_fork()


os.register_at_fork(after_in_child=_after_fork)
