"""Which approximate index a process searches, and who builds the next one."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from django_obc_ai.backends.vector_stores._approximate import Approximate
from django_obc_ai.backends.vector_stores._building import (
    BUILD_LOCK,
    build_neighbours,
    find_neighbours,
    remove_leftovers,
)
from django_obc_ai.backends.vector_stores._neighbours import Pairing, pair
from django_obc_ai.logs import events

if TYPE_CHECKING:
    from django_obc_ai.backends.snapshots.folders import IndexFolder
    from django_obc_ai.backends.vector_stores._snapshots import Snapshot

#: How long a build waits for that of another process, and when one that failed is tried again.
_WAIT_SECONDS, _RETRY_SECONDS = 7_200.0, 60.0
_EXIT_SECONDS = 10.0
#: Builds beside searches leave them the processor.
_NICE = 10
_all: weakref.WeakSet[Pairings] = weakref.WeakSet()


class EndedError(Exception):
    """The store is being closed; the index is built another time."""


class Pairings:
    """The approximate indexes of a store, each as it stands to the newest snapshot."""

    def __init__(self, approximate: Approximate, import_faiss: Callable[[], Any], threads: int):
        """Take what they are built with. Any: FAISS has no types."""
        self.approximate = approximate
        self._import_faiss = import_faiss
        self._threads = threads
        self._held: dict[str, Pairing] = {}
        self._sought: dict[str, tuple[Snapshot, int]] = {}
        self._builds: dict[str, threading.Thread] = {}
        self._retry_at: dict[str, float] = {}
        self._is_ending = False
        self._lock = threading.Lock()
        _all.add(self)

    def of(
        self, index: str, base: Snapshot, folder: IndexFolder[Snapshot], *, is_built: bool = True
    ) -> Pairing | None:
        """Return the index for a snapshot, or None if there is none to use.

        Args:
            index: Name of the index.
            base: The snapshot that is searched.
            folder: Where both are.
            is_built: Whether a thread is to build what is missing or stale.
        """
        held = self._held.get(index)
        if held is not None and held.base is base and not held.neighbours.index_file.is_touched():
            return held
        if len(base.ids) < self.approximate.above or not base.lineage:
            return None
        changed = folder.changed_ns()
        sought = self._sought.get(index)
        if held is None and sought is not None and (sought[0] is base and sought[1] == changed):
            if is_built:
                self._build_later(index, base, folder)
            return None
        found = find_neighbours(self._import_faiss(), folder, base, self.approximate)
        pairing = None if found is None else pair(found, base)
        with self._lock:
            self._sought[index] = (base, changed)
            self._held.pop(index, None)
            if pairing is not None:
                self._held[index] = pairing
        if is_built and (pairing is None or pairing.is_stale):
            self._build_later(index, base, folder)
        return pairing

    def build(self, index: str, base: Snapshot, folder: IndexFolder[Snapshot]) -> None:
        """Build the index of a snapshot, unless one that is not stale is there; wait for it.

        Raises:
            BadSnapshotError: The snapshot is damaged.
            OSError: Files cannot be written.
        """
        failed: list[BaseException] = []

        def work() -> None:
            try:
                self._build(base, folder, wait_seconds=_WAIT_SECONDS)
            except BaseException as error:  # noqa: BLE001 - raised in the thread that waits
                failed.append(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            thread.join()
        except BaseException:
            self._end([thread])  # Ctrl-C
            raise
        self._sought.pop(index, None)
        self._held.pop(index, None)
        if failed:
            raise failed[0]

    def forget(self, index: str) -> None:
        """Forget what is held of an index."""
        with self._lock:
            self._held.pop(index, None)
            self._sought.pop(index, None)

    def close(self) -> None:
        """End the builds and forget everything in memory."""
        self._end(list(self._builds.values()), seconds=None)
        with self._lock:
            self._held.clear()
            self._sought.clear()
            self._retry_at.clear()

    def end_at_exit(self) -> None:
        """End the builds: FAISS's threads must not outlive the interpreter."""
        self._end(list(self._builds.values()), seconds=_EXIT_SECONDS)

    def after_fork(self) -> None:
        """Forget, in a forked child, the threads of its parent."""
        self._lock = threading.Lock()
        self._builds = {}
        self._is_ending = False

    def wait(self) -> None:
        """Wait for the builds that run beside searches; for tests."""
        for thread in list(self._builds.values()):
            thread.join()

    def _end(self, threads: list[threading.Thread], seconds: float | None = None) -> None:
        self._is_ending = True
        for thread in threads:
            thread.join(seconds)
        self._is_ending = False

    def _check(self) -> None:
        if self._is_ending:
            raise EndedError

    def _build(self, base: Snapshot, folder: IndexFolder[Snapshot], *, wait_seconds: float) -> bool:
        faiss = self._import_faiss()
        with folder.lock(wait_seconds=wait_seconds, name=BUILD_LOCK) as is_mine:
            if not is_mine:
                return False
            remove_leftovers(folder)
            found = find_neighbours(faiss, folder, base, self.approximate)
            if found is not None and not pair(found, base).is_stale:
                return True
            start = time.monotonic()
            is_published = build_neighbours(
                faiss,
                folder,
                base,
                self.approximate,
                threads=self._threads,
                check=self._check,
            )
        if is_published:
            events.VECTOR_STORES_APPROXIMATE_BUILT.log(
                index=folder.index,
                kind=self.approximate.text,
                chunks=len(base.ids),
                seconds=round(time.monotonic() - start, 1),
            )
        return is_published

    def _build_later(self, index: str, base: Snapshot, folder: IndexFolder[Snapshot]) -> None:
        with self._lock:
            if index in self._builds or time.monotonic() < self._retry_at.get(index, 0.0):
                return
            thread = threading.Thread(
                target=self._build_quietly, args=[index, base, folder], daemon=True
            )
            self._builds[index] = thread
        thread.start()

    def _build_quietly(self, index: str, base: Snapshot, folder: IndexFolder[Snapshot]) -> None:
        if sys.platform == "linux":  # there a thread has a priority of its own
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        is_built = False
        try:
            is_built = self._build(base, folder, wait_seconds=0)
        except EndedError:
            pass
        except Exception as error:  # noqa: BLE001 - whatever it is, searches go on exactly
            events.VECTOR_STORES_APPROXIMATE_NOT_BUILT.log(about=index, error=error, index=index)
        with self._lock:
            if not is_built:
                self._retry_at[index] = time.monotonic() + _RETRY_SECONDS
            self._builds.pop(index, None)


def _end_all() -> None:
    for each in list(_all):
        each.end_at_exit()


atexit.register(_end_all)
