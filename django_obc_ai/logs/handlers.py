"""A file that several processes write and rotate, without a line being lost or torn.

`logging.handlers.RotatingFileHandler` does not allow that: while one process renames the file,
another goes on writing to what was renamed, and renames it again. Here every line is one write
to a file that is open for appending, which a local file system does not mix with others'; before
each line a process looks whether the path still leads to its file, as `WatchedFileHandler` does;
and whoever finds the file full renames it under a lock, if nobody else has done so meanwhile.
"""

from __future__ import annotations

import fcntl
import logging
import os
from contextlib import suppress
from pathlib import Path


class SharedRotatingFileHandler(logging.Handler):
    """Append records to a file, and begin a new one when it is full.

    ``name.log.1`` is the one before, and so on. The file, and its folder, are made with the first
    record, so that settings can be loaded where nothing may be written. It may be rotated from
    outside, too.
    """

    def __init__(
        self, filename: str | os.PathLike[str], *, max_bytes: int = 0, backup_count: int = 0
    ) -> None:
        """Open nothing yet.

        Args:
            filename: Path of the file.
            max_bytes: A file of this size is full; 0 is never.
            backup_count: Files kept besides; 0 never rotates.
        """
        super().__init__()
        self.path = Path(filename).absolute()
        self._max_bytes = max_bytes if backup_count > 0 else 0
        self._backup_count = backup_count
        self._file = -1
        self._identity = (-1, -1)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; what fails is told as `logging` does, on standard error."""
        try:
            line = f"{self.format(record)}\n".encode(errors="backslashreplace")
            self._open_if_moved()
            while line:
                line = line[os.write(self._file, line) :]
        except Exception:  # noqa: BLE001 - the contract of a handler
            self.handleError(record)

    def close(self) -> None:
        """Close the file; the next record opens it again."""
        self.acquire()
        try:
            self._let_go()
        finally:
            self.release()
        super().close()

    def _let_go(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._file, self._identity = -1, (-1, -1)

    def _open_if_moved(self) -> None:
        """Have the file open that the path leads to, and let it have room."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            self._open()
            return
        if self._max_bytes and found.st_size >= self._max_bytes:
            self._rotate()
            self._open()
        elif (found.st_dev, found.st_ino) != self._identity:
            self._open()

    def _open(self) -> None:
        self._let_go()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._file = os.open(self.path, flags, 0o640)
        found = os.fstat(self._file)
        self._identity = (found.st_dev, found.st_ino)

    def _rotate(self) -> None:
        """Rename the file if it is still the full one, once among all processes.

        The lock is of a descriptor of its own: one that a fork handed on would be shared.
        """
        try:
            lock = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:  # rotated this moment
            return
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            mine = os.fstat(lock)
            with suppress(FileNotFoundError):
                is_same = os.path.samestat(mine, self.path.stat())
                if is_same and mine.st_size >= self._max_bytes:
                    self._shift()
        finally:
            os.close(lock)

    def _shift(self) -> None:
        for number in range(self._backup_count - 1, 0, -1):
            with suppress(FileNotFoundError):
                self._numbered(number).replace(self._numbered(number + 1))
        self.path.replace(self._numbered(1))

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")
