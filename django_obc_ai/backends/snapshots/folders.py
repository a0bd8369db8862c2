"""Where the snapshots of an index are, and who may write there.

``<path>/<name of the index>-<hash>/<uuid of the index>/`` holds ``snapshot-…`` folders, a
``lock``, and for a while ``new-…`` (being written), ``old-…`` (being removed) and
``set-aside-…`` (could not be used; the last few are kept for whoever wants to look). An
approximate index is ``neighbours-…`` beside them, and ``building-…`` until it is ready. Those of
words are all that in a folder ``words`` of their own, so that both kinds may be given one path.
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic
from uuid import UUID

from django_obc_ai.backends.snapshots.files import (
    BadSnapshotError,
    OtherSnapshotError,
    sync_folder,
)
from django_obc_ai.backends.snapshots.kinds import Kind, SnapshotT, state_of
from django_obc_ai.types import ReplicaState

KEPT_ASIDE = 3
NEIGHBOURS, BUILDING = "neighbours-", "building-"
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


class IndexFolder(Generic[SnapshotT]):
    """The snapshots of one kind, of one index of one database."""

    def __init__(self, kind: Kind[SnapshotT], path: Path, index: str, index_uuid: UUID) -> None:
        """Name the folder; nothing is created before something is written."""
        self.index = index
        self.index_uuid = index_uuid
        self.path = folder_of(path, index) / str(index_uuid) / kind.subfolder
        self._kind = kind
        self._owners: dict[str, tuple[int, int]] = {}

    @contextmanager
    def lock(self, *, wait_seconds: float, name: str = "lock") -> Iterator[bool]:
        """Hold the writers' lock; yield False if another process holds it for too long.

        The thread that holds it may enter again. The lock ends with the process, however
        that ends. Another name is another lock.
        """
        me = (os.getpid(), threading.get_ident())
        if self._owners.get(name) == me:
            yield True
            return
        self.path.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path / name, os.O_RDWR | os.O_CREAT, 0o666)
        _locked.add(descriptor)
        try:
            if not _acquire(descriptor, wait_seconds):
                yield False
                return
            self._owners[name] = me
            try:
                yield True
            finally:
                self._owners.pop(name, None)
                fcntl.flock(descriptor, fcntl.LOCK_UN)  # closing would not do, if forked meanwhile
        finally:
            if descriptor in _locked:  # a child that was forked meanwhile has closed it
                _locked.discard(descriptor)
                os.close(descriptor)

    def names(self) -> list[Path]:
        """Return the folders of snapshots, of any generation, in no order."""
        return self.named("snapshot-")

    def named(self, prefix: str) -> list[Path]:
        """Return the folders whose names begin like that, in no order."""
        try:
            return [each for each in self.path.iterdir() if each.name.startswith(prefix)]
        except FileNotFoundError:
            return []

    def changed_ns(self) -> int:
        """Return when a snapshot came or went last, 0 if there never was one."""
        try:
            return self.path.stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def manifests(self) -> Iterator[tuple[dict[str, Any], ReplicaState]]:
        """Yield the manifests that can be read (Any: JSON), and their moments, in no order."""
        for folder in self.names():
            with suppress(FileNotFoundError, BadSnapshotError):
                yield self._read(folder)

    def has_newer(self, state: ReplicaState) -> bool:
        """Return whether there is a later snapshot of the same generation."""
        return any(
            found.generation == state.generation and found.version > state.version
            for _, found in self.manifests()
        )

    def usable(self, wants: Callable[[ReplicaState], bool]) -> SnapshotT | None:
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

    def _open(self, folder: Path, wants: Callable[[ReplicaState], bool]) -> SnapshotT | None:
        try:
            manifest, state = self._read(folder)
            return self._kind.open_snapshot(folder, manifest) if wants(state) else None
        except FileNotFoundError:
            if folder.exists():
                self.set_aside(folder, "a file is missing")
        except OtherSnapshotError:
            return None  # it may be of use to others
        except BadSnapshotError as error:
            self.set_aside(folder, str(error))
        return None

    def _read(self, folder: Path) -> tuple[dict[str, Any], ReplicaState]:
        manifest = self._kind.read_manifest(folder)
        state = state_of(manifest)
        if manifest["index"] != self.index or state.index_uuid != self.index_uuid:
            raise BadSnapshotError("it belongs to another index or another database")
        return manifest, state

    def write(
        self,
        save: Callable[[Path], None],
        *,
        state: ReplicaState,
        is_published: bool = True,
        is_history_new: bool = False,
    ) -> SnapshotT:
        """Write a snapshot beside the others, give it its name at the end, and open it.

        Args:
            save: Makes the folder that it is given, and writes all files of the snapshot there.
            state: The moment that they are.
            is_published: Whether others may find it, which needs the lock. If not, it is
                unlinked at once: what is mapped lives on.
            is_history_new: See `clean`.
        """
        scratch = self.path / f"new-{os.getpid()}-{secrets.token_hex(6)}"
        try:
            save(scratch)
            if not is_published:
                return self._reopen(scratch)
            target = self.path / f"snapshot-{state.version:020d}-{secrets.token_hex(6)}"
            scratch.rename(target)
            sync_folder(self.path)
            self.clean(keep=target, is_history_new=is_history_new)
            return self._reopen(target)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _reopen(self, folder: Path) -> SnapshotT:
        return self._kind.open_snapshot(folder, self._kind.read_manifest(folder))

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
            except OtherSnapshotError:
                self.remove(folder)
                continue
            except BadSnapshotError as error:
                self.set_aside(folder, str(error))
                continue
            is_same = state.generation == kept.generation
            if is_same and is_history_new and state != kept:
                self.set_aside(folder, "the database does not know its version and stamp")
            elif is_same or is_history_new:
                self.remove(folder)
        for folder in self.named(NEIGHBOURS) if is_history_new else []:
            self.remove(folder)  # numbers of its chunks may be given anew
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
        self._kind.set_aside.log(index=self.index, reason=reason, folder=target.name)
        aside = sorted(self.path.glob("set-aside-*"), key=lambda each: each.name)
        for each in aside[:-KEPT_ASIDE]:
            shutil.rmtree(each, ignore_errors=True)

    def remove_all(self) -> None:
        """Remove every snapshot and what is left of others, under the lock."""
        for folder in [*self.names(), *self.named(NEIGHBOURS)]:
            self.remove(folder)
        for pattern in ("set-aside-*", "new-*", "old-*", f"{BUILDING}*"):
            for leftover in self.path.glob(pattern):
                shutil.rmtree(leftover, ignore_errors=True)

    def remove(self, folder: Path) -> None:
        """Remove a folder, renamed first: a reader never finds half of it under its name."""
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
