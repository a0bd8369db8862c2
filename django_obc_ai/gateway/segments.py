"""Rows on the disk of this machine while they wait, in memory, for the next batch.

Each batch of a process has one file, a segment: a line is a row, flushed to the disk before the
answer of its call returns. The segment is removed when the batch is in the database. The process
keeps a lock on it; when the lock is gone and the file is not, whoever drains takes up its rows.
"""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

from django_obc_ai.gateway import spool
from django_obc_ai.models import AIOperation

_SUFFIX = ".rows"


class Segment:
    """One file, of one batch of this process.

    `write` is for one thread at a time; `sync` is for any, and threads that wait for the disk
    at the same time share one flush.
    """

    def __init__(self, folder: Path, alias: str) -> None:
        """Create the file.

        Args:
            folder: What get_folder() returned.
            alias: The database that is to take the rows.

        Raises:
            OSError: It cannot be created.
        """
        spool.make(folder.parent)
        spool.make(folder)
        self.path = folder / f"{spool.mark_of(alias)}-{uuid.uuid4().hex}{_SUFFIX}"
        self._handle = spool.create_locked(self.path)
        self._size = self._synced = 0
        self._syncing = threading.Lock()
        spool.sync_folder(folder)

    def write(self, operation: AIOperation) -> None:
        """Add a row; it is not on the disk before sync().

        Raises:
            OSError: It could not be written; nothing of it is left.
        """
        line = f"{spool.dump(operation)}\n".encode()
        written = 0
        try:
            while written < len(line):
                written += os.pwrite(self._handle, line[written:], self._size + written)
        except OSError:
            os.ftruncate(self._handle, self._size)
            raise
        self._size += len(line)

    def sync(self) -> None:
        """Return when all that was written before is on the disk, or in the database.

        Raises:
            OSError: The disk failed.
        """
        wanted = self._size
        with self._syncing:
            if self._handle >= 0 and self._synced < wanted:
                size = self._size
                os.fdatasync(self._handle)
                self._synced = size

    def remove(self) -> None:
        """Remove the file: its rows are in the database."""
        self.path.unlink(missing_ok=True)
        self.leave()

    def leave(self) -> None:
        """Leave the file to whoever takes up what dead processes left."""
        with self._syncing:
            handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)

    def forget(self) -> None:
        """Let go of it in a forked child; it stays its parent's."""
        self._syncing = threading.Lock()
        self.leave()


def get_folder() -> Path | None:
    """Return the folder of segments, whether it exists or not; None if there is no spool."""
    folder = spool.get_folder()
    return None if folder is None else folder / "batches"


def find_left(alias: str | None) -> Iterator[tuple[Path, list[AIOperation]]]:
    """Yield the segments of dead processes, under a lock, with their rows; the caller removes them.

    The end of a line that was being written when its process was killed is no row. A line that
    cannot be understood is kept in a file of its own, which nobody takes up.

    Args:
        alias: Whose rows; None takes those of all databases.
    """
    folder, mark = get_folder(), "" if alias is None else f"{spool.mark_of(alias)}-"
    if folder is None or not folder.is_dir():
        return
    for path in sorted(folder.glob(f"{mark}*{_SUFFIX}")):
        handle = spool.seize(path)
        if handle is None:
            continue
        try:
            yield path, list(_read(path))
        finally:
            os.close(handle)


def _read(path: Path) -> Iterator[AIOperation]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:  # another process was faster
        return
    for number, line in enumerate(text.split("\n")[:-1]):
        operation = spool.load_or_set_aside(line, f"{path.stem}-{number}")
        if operation is not None:
            yield operation
