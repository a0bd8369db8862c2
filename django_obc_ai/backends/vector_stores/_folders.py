"""Where the snapshots of an index are, and who may write there.

``<path>/<name of the index>-<hash>/<uuid of the index>/`` holds ``snapshot-…`` folders, a
``lock``, and for a while ``new-…`` (being written), ``old-…`` (being removed) and
``set-aside-…`` (could not be used; the last few are kept for whoever wants to look).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np

from django_obc_ai.backends.vector_stores._snapshots import (
    BadSnapshotError,
    Snapshot,
    SnapshotWriter,
    open_snapshot,
    read_manifest,
    state_of,
    sync_folder,
)
from django_obc_ai.backends.vector_stores.base import check_dimension
from django_obc_ai.logs import events
from django_obc_ai.types import ReplicaState

if TYPE_CHECKING:
    from django_obc_ai.backends.vector_stores.base import Batch

KEPT_ASIDE = 3
_ATTEMPTS = 20
_POLL_SECONDS = 0.05
#: Descriptors of the locks that this process holds; see `_close_inherited`.
_locked: set[int] = set()


def _close_inherited() -> None:
    """Let go, in a forked child, of locks that its parent holds: the parent keeps them."""
    for descriptor in _locked:
        os.close(descriptor)
    _locked.clear()


os.register_at_fork(after_in_child=_close_inherited)


def folder_of(path: Path, index: str) -> Path:
    """Return the folder of an index, whatever its name is: it cannot lead outside path."""
    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", index)[:40]
    digest = hashlib.sha256(index.encode("utf-8", "surrogatepass")).hexdigest()
    return path / f"{readable}-{digest[:16]}"


def uuids_of(path: Path, index: str) -> list[UUID]:
    """Return which databases' snapshots of an index there may be."""
    found = []
    with suppress(FileNotFoundError):
        for each in folder_of(path, index).iterdir():
            with suppress(ValueError):
                found.append(UUID(each.name))
    return found


class IndexFolder:
    """The snapshots of one index of one database."""

    def __init__(self, path: Path, index: str, index_uuid: UUID) -> None:
        """Name the folder; nothing is created before something is written."""
        self.index = index
        self.index_uuid = index_uuid
        self.path = folder_of(path, index) / str(index_uuid)
        self._owner: tuple[int, int] | None = None

    @contextmanager
    def lock(self, *, wait_seconds: float) -> Iterator[bool]:
        """Hold the writers' lock; yield False if another process holds it for too long.

        The thread that holds it may enter again. The lock ends with the process, however
        that ends.
        """
        me = (os.getpid(), threading.get_ident())
        if self._owner == me:
            yield True
            return
        self.path.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o666)
        _locked.add(descriptor)
        try:
            if not _acquire(descriptor, wait_seconds):
                yield False
                return
            self._owner = me
            try:
                yield True
            finally:
                self._owner = None
                fcntl.flock(descriptor, fcntl.LOCK_UN)  # closing would not do, if forked meanwhile
        finally:
            if descriptor in _locked:  # a child that was forked meanwhile has closed it
                _locked.discard(descriptor)
                os.close(descriptor)

    def names(self) -> list[Path]:
        """Return the folders of snapshots, of any generation, in no order."""
        try:
            return [each for each in self.path.iterdir() if each.name.startswith("snapshot-")]
        except FileNotFoundError:
            return []

    def changed_ns(self) -> int:
        """Return when a snapshot came or went last, 0 if there never was one."""
        try:
            return self.path.stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def has_newer(self, state: ReplicaState) -> bool:
        """Return whether there is a later snapshot of the same generation."""
        for folder in self.names():
            with suppress(FileNotFoundError, BadSnapshotError):
                _, found = self._read(folder)
                if found.generation == state.generation and found.version > state.version:
                    return True
        return False

    def usable(self, wants: Callable[[ReplicaState], bool]) -> Snapshot | None:
        """Open the newest snapshot that is wanted; set aside what is damaged or foreign.

        Args:
            wants: Asked with the moment of each snapshot, newest first.
        """
        tried: set[Path] = set()
        for _ in range(_ATTEMPTS):  # a writer may replace what was just listed
            found = [(_version(each), each) for each in self.names() if each not in tried]
            if not found:
                return None
            for _, folder in sorted(found, reverse=True):
                tried.add(folder)
                snapshot = self._open(folder, wants)
                if snapshot is not None:
                    return snapshot
        return None

    def _open(self, folder: Path, wants: Callable[[ReplicaState], bool]) -> Snapshot | None:
        try:
            manifest, state = self._read(folder)
            return open_snapshot(folder, manifest) if wants(state) else None
        except FileNotFoundError:
            if folder.exists():
                self.set_aside(folder, "a file is missing")
        except BadSnapshotError as error:
            self.set_aside(folder, str(error))
        return None

    def _read(self, folder: Path) -> tuple[dict[str, Any], ReplicaState]:
        manifest = read_manifest(folder)
        state = state_of(manifest)
        if manifest["index"] != self.index or state.index_uuid != self.index_uuid:
            raise BadSnapshotError("it belongs to another index or another database")
        return manifest, state

    def write(
        self,
        batches: Iterable[Batch],
        *,
        dimension: int,
        state: ReplicaState,
        is_published: bool = True,
        is_history_new: bool = False,
    ) -> Snapshot:
        """Write a snapshot beside the others, give it its name at the end, and open it.

        Args:
            batches: See `BaseVectorStore.reset`.
            dimension: d.
            state: The moment that the batches are.
            is_published: Whether others may find it, which needs the lock. If not, it is
                unlinked at once: what is mapped lives on.
            is_history_new: See `clean`.
        """
        scratch = self.path / f"new-{os.getpid()}-{secrets.token_hex(6)}"
        writer = SnapshotWriter(scratch, dimension)
        try:
            for ids, vectors in batches:
                check_dimension(self.index, vectors, dimension)
                writer.add(np.asarray(ids, np.int64), np.asarray(vectors, np.float32))
            writer.finish(self.index, state)
            if not is_published:
                return open_snapshot(scratch, read_manifest(scratch))
            target = self.path / f"snapshot-{state.version:020d}-{secrets.token_hex(6)}"
            scratch.rename(target)
            sync_folder(self.path)
            self.clean(keep=target, is_history_new=is_history_new)
            return open_snapshot(target, read_manifest(target))
        finally:
            writer.close()
            shutil.rmtree(scratch, ignore_errors=True)

    def clean(self, *, keep: Path, is_history_new: bool) -> None:
        """Remove what a new snapshot replaces and leftovers of killed writers, under the lock.

        Args:
            keep: The new snapshot.
            is_history_new: It does not continue the others. Those of its generation are set
                aside: the database does not know them. Those of other generations are over.
        """
        _, kept = self._read(keep)
        for folder in self.names():
            if folder == keep:
                continue
            try:
                _, state = self._read(folder)
            except FileNotFoundError:
                continue
            except BadSnapshotError as error:
                self.set_aside(folder, str(error))
                continue
            is_same = state.generation == kept.generation
            if is_same and is_history_new and state != kept:
                self.set_aside(folder, "the database does not know its version and stamp")
            elif is_same or is_history_new:
                self._remove(folder)
        for leftover in self.path.iterdir():
            if leftover.name.startswith(("new-", "old-")):
                shutil.rmtree(leftover, ignore_errors=True)

    def set_aside(self, folder: Path, reason: str) -> None:
        """Rename what cannot be used, and remove the oldest of what was set aside before."""
        now = datetime.now(tz=UTC).strftime("%Y%m%dT%H%M%S%f")
        target = self.path / f"set-aside-{now}-{secrets.token_hex(4)}"
        try:
            folder.rename(target)
        except OSError:  # another process was faster, or this one may not write
            return
        events.VECTOR_STORES_SNAPSHOT_SET_ASIDE.log(
            index=self.index, reason=reason, folder=target.name
        )
        aside = sorted(self.path.glob("set-aside-*"), key=lambda each: each.name)
        for each in aside[:-KEPT_ASIDE]:
            shutil.rmtree(each, ignore_errors=True)

    def remove_all(self) -> None:
        """Remove every snapshot and what is left of others, under the lock."""
        for folder in self.names():
            self._remove(folder)
        for pattern in ("set-aside-*", "new-*", "old-*"):
            for leftover in self.path.glob(pattern):
                shutil.rmtree(leftover, ignore_errors=True)

    def _remove(self, folder: Path) -> None:
        # Renamed first: a reader never finds half of a snapshot under its name.
        gone = self.path / f"old-{secrets.token_hex(6)}"
        with suppress(OSError):
            folder.rename(gone)
            shutil.rmtree(gone, ignore_errors=True)


def _version(folder: Path) -> int:
    number = folder.name.split("-")[1]
    return int(number) if number.isdecimal() else -1


def _acquire(descriptor: int, wait_seconds: float) -> bool:
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_SECONDS)
        else:
            return True
