"""Operations on disk that the database could not take yet.

A folder with one small file each, so that writing is atomic and taking up is idempotent: a
file is written under another name, flushed to the disk and renamed; whoever takes it up inserts
the row, by its own id, and removes the file. Any number of processes may do so at once.

A file's name begins with a mark of its database. A test run, or a project that was pointed to
another database, never takes up what belongs elsewhere, unless it is told to.
"""

from __future__ import annotations

import datetime
import fcntl
import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.db import connections

from django_obc_ai.conf import get_settings
from django_obc_ai.logs import events
from django_obc_ai.models import AIOperation

SUFFIX = ".json"
#: Files that nobody takes up: not readable, or refused by the database for good.
BROKEN, REFUSED = ".broken", ".refused"


def mark_of(alias: str) -> str:
    """Return what tells one database from others, equal in all processes of a project."""
    entry = connections[alias].settings_dict
    parts = [str(entry.get(name, "")) for name in ("ENGINE", "NAME", "HOST", "PORT")]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def get_folder() -> Path | None:
    """Return the folder, whether it exists or not; None if there is none."""
    return get_settings().log.spool


def write(operation: AIOperation, alias: str) -> bool:
    """Put an operation on disk; True means that it is there, power failures included.

    Neither its prompt nor its answer is part of it. Never raises: a folder that cannot be
    written is logged.
    """
    folder = get_folder()
    if folder is None:
        return False
    try:
        make(folder)
        put(folder, _name_of(operation, alias), dump(operation), is_durable=True)
    except OSError as error:
        events.LEDGER_SPOOL_UNWRITABLE.log(error=error, folder=folder)
        return False
    return True


def make(folder: Path) -> None:
    """Create a folder that only this user may look into.

    Raises:
        OSError: It cannot be created.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)


def dump(operation: AIOperation) -> str:
    """Return an operation as JSON, which `read` understands."""
    values = {field.attname: getattr(operation, field.attname) for field in _fields()}
    return dump_values(values)


def dump_values(values: Mapping[str, Any]) -> str:
    """Return the values of an operation by column as `dump` returns an operation."""
    return _encode({"values": values})


def load(text: str) -> AIOperation:
    """Return what `dump` made a text of.

    Raises:
        ValueError: It is another text.
        KeyError: Likewise.
        ValidationError: Likewise.
    """
    values = json.loads(text)["values"]
    found = AIOperation(pk=uuid.UUID(values["id"]))
    for field in _fields():
        if field.attname in values:  # an older release knew fewer
            setattr(found, field.attname, field.to_python(values[field.attname]))
    return found


def load_or_set_aside(text: str, name: str) -> AIOperation | None:
    """Return what `load` does; None if that cannot be: it is kept, and logged, by a name."""
    try:
        return load(text)
    except Exception as error:  # noqa: BLE001 - whatever stands there, the other rows go on
        events.LEDGER_SPOOL_UNREADABLE.log(error=error, file=name)
        folder = get_folder()
        if folder is not None:
            make(folder)
            put(folder, f"{name}{BROKEN}", text, is_durable=True)
        return None


def put(folder: Path, name: str, body: str, *, is_durable: bool) -> None:
    """Write a whole file or none.

    Args:
        folder: An existing folder.
        name: Its name; a file of that name is replaced.
        body: Its text.
        is_durable: Whether to wait until file and name are on the disk.

    Raises:
        OSError: It could not be written.
    """
    draft = folder / f".{uuid.uuid4().hex}.tmp"
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(body)
            file.flush()
            if is_durable:
                os.fsync(file.fileno())
        draft.rename(folder / name)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    if is_durable:
        sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Return when the names of a folder's files are on the disk.

    Raises:
        OSError: The disk failed.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def refuse(operation: AIOperation, alias: str) -> bool:
    """Keep what a database refuses for good where somebody may look at it; whether it is kept."""
    folder = get_folder()
    if folder is None:
        return False
    try:
        make(folder)
        name = Path(_name_of(operation, alias)).with_suffix(REFUSED).name
        put(folder, name, dump(operation), is_durable=True)
    except OSError as error:
        events.LEDGER_SPOOL_UNWRITABLE.log(error=error, folder=folder)
        return False
    return True


def holds(operation: AIOperation, alias: str) -> bool:
    """Return whether an operation of this id waits."""
    folder = get_folder()
    return folder is not None and (folder / _name_of(operation, alias)).exists()


def _name_of(operation: AIOperation, alias: str) -> str:
    return f"{mark_of(alias)}-{operation.pk}{SUFFIX}"


def find(alias: str | None) -> list[Path]:
    """Return the waiting files of one database, or with None those of all."""
    folder = get_folder()
    start = "" if alias is None else f"{mark_of(alias)}-"
    if folder is None:
        return []
    try:
        with os.scandir(folder) as entries:
            names = [
                e.name for e in entries if e.name.endswith(SUFFIX) and e.name.startswith(start)
            ]
    except OSError:  # usually: nothing was ever spooled
        return []
    return [folder / name for name in sorted(names) if name.startswith(start)]


def read(path: Path) -> AIOperation | None:
    """Return the operation in a file; None if another process took it up or it is broken.

    A file that cannot be understood is set aside, and logged.
    """
    try:
        return load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except Exception as error:  # noqa: BLE001 - whatever stands there, the other files go on
        set_aside(path, BROKEN)
        events.LEDGER_SPOOL_UNREADABLE.log(error=error, file=path.name)
        return None


def create_locked(path: Path) -> int:
    """Create a file under a lock that ends with this process, and return its handle.

    Whoever takes up what dead processes left may have removed it between the two.

    Raises:
        OSError: It cannot be created.
    """
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX)
        try:
            if os.path.samestat(path.stat(), os.fstat(handle)):
                return handle
        except FileNotFoundError:
            pass
        os.close(handle)


def seize(path: Path) -> int | None:
    """Lock a file of a process that has died, and return its handle; None if its owner lives."""
    try:
        handle = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


def set_aside(path: Path, suffix: str) -> None:
    """Rename a file so that it is kept, and not taken up again."""
    with suppress(FileNotFoundError):
        path.rename(path.with_suffix(suffix))


def remove(path: Path) -> None:
    """Remove a file; another process may have been faster."""
    path.unlink(missing_ok=True)


def count_set_aside() -> int:
    """Return the files that need somebody to look at them."""
    folder = get_folder()
    if folder is None or not folder.is_dir():
        return 0
    return sum(1 for path in folder.rglob("*") if path.suffix in (BROKEN, REFUSED))


def find_fault(folder: Path) -> str:
    """Return why a folder cannot be written, or ""; it is not created to find out."""
    home = folder
    while not home.exists() and home != home.parent:
        home = home.parent
    if not home.is_dir():
        return f"{home} is no folder"
    return "" if os.access(home, os.W_OK | os.X_OK) else f"{home} cannot be written"


def _fields() -> Iterator[Any]:
    # Any: the stubs do not say that concrete fields have an attname.
    yield from AIOperation._meta.concrete_fields


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime.datetime) else str(value)


_encode = json.JSONEncoder(default=_plain).encode
