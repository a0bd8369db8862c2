"""What is about to be spent, on disk while a call is in flight, for calls that nothing holds.

A process that is killed after its provider answered, and before it wrote the row, would leave
no trace of the money. A hold in a shared cost store is such a trace. Where there is none, since
no budget applies, a small file says what the call may cost until its row is stored. A process
keeps a lock on a file of its own for as long as it lives; when the lock is gone, whoever drains
the spool books what the dead process left at its ceiling, with ``cost_known=False``.

The files survive the process, not a power failure: nothing is flushed to the disk before a call.
"""

from __future__ import annotations

import atexit
import os
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

from django_obc_ai.gateway import spool
from django_obc_ai.logs import events
from django_obc_ai.models import AIOperation

_LOCK = ".lock"


class _Owner:
    """This process: its token, and the lock that tells others that it lives."""

    def __init__(self) -> None:
        self.guard = threading.Lock()
        self.folder: Path | None = None
        self.token = ""
        self.handle = -1

    def close(self) -> None:
        """Let go of the lock; its file stays with whoever may need it."""
        handle, self.handle, self.folder, self.token = self.handle, -1, None, ""
        if handle >= 0:
            os.close(handle)

    def end(self) -> None:
        """Take the lock's file away, too, if no call of this process is left to be booked."""
        if self.folder is not None and not any(self.folder.glob(f"*-{self.token}-*")):
            (self.folder / f"{self.token}{_LOCK}").unlink(missing_ok=True)
        self.close()

    def forget(self) -> None:
        """Become another owner in a forked child; the lock stays its parent's."""
        self.guard = threading.Lock()
        self.close()

    def token_in(self, folder: Path) -> str:
        """Return the token under which this process is known in a folder; lock it first."""
        with self.guard:
            if self.folder != folder:
                self.end()
                spool.make(folder.parent)
                spool.make(folder)
                self.token = uuid.uuid4().hex
                self.handle = spool.create_locked(folder / f"{self.token}{_LOCK}")
                self.folder = folder
            return self.token


_owner = _Owner()
os.register_at_fork(after_in_child=_owner.forget)
atexit.register(_owner.end)


def announce(operation: AIOperation, alias: str) -> Path | None:
    """Say on disk what a call may cost; a repeated id replaces what was said.

    Never raises: a disk that fails does not stop a call. It is logged.

    Returns:
        The file, for `withdraw`; None if nothing was written.
    """
    folder = _folder()
    if folder is None:
        return None
    try:
        name = f"{spool.mark_of(alias)}-{_owner.token_in(folder)}-{operation.pk}{spool.SUFFIX}"
        spool.put(folder, name, spool.dump(operation), is_durable=False)
    except OSError as error:
        events.LEDGER_NOT_ANNOUNCED.log(error=error, folder=folder)
        return None
    return folder / name


def withdraw(announced: Path | None) -> None:
    """Remove an announcement, once the row is stored or waits in the spool; never raises."""
    if announced is not None:
        try:
            spool.remove(announced)
        except OSError as error:  # it will be found to be known
            events.LEDGER_NOT_WITHDRAWN.log(error=error)


def find_abandoned(alias: str) -> Iterator[tuple[Path, AIOperation]]:
    """Yield what dead processes announced and did not withdraw; the caller removes the files.

    While one process goes through them, others see them as owned.
    """
    folder = _folder()
    if folder is None or not folder.is_dir():
        return
    for lock in sorted(folder.glob(f"*{_LOCK}")):
        if lock.stem == _owner.token and folder == _owner.folder:
            continue
        handle = spool.seize(lock)
        if handle is None:
            continue
        try:
            for path in sorted(folder.glob(f"{spool.mark_of(alias)}-{lock.stem}-*{spool.SUFFIX}")):
                operation = spool.read(path)
                if operation is not None:
                    yield path, operation
            if not any(folder.glob(f"*-{lock.stem}-*{spool.SUFFIX}")):
                lock.unlink(missing_ok=True)
        finally:
            os.close(handle)


def find_in_flight(alias: str) -> Iterator[AIOperation]:
    """Yield what other processes have announced, living ones too; nothing is taken away."""
    folder = _folder()
    if folder is None or not folder.is_dir():
        return
    for path in sorted(folder.glob(f"{spool.mark_of(alias)}-*{spool.SUFFIX}")):
        if not _owner.token or f"-{_owner.token}-" not in path.name:
            operation = spool.read(path)
            if operation is not None:
                yield operation


def _folder() -> Path | None:
    folder = spool.get_folder()
    return None if folder is None else folder / "in_flight"
