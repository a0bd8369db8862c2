"""A backup on disk: a folder with the data, manifest.json and SHA256SUMS.

The folder is written under another name, flushed to the disk, and renamed: there is a whole backup
or none. `sha256sum -c SHA256SUMS` in it checks it without any of this.
"""

from __future__ import annotations

import datetime
import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.backups.fingerprint import Fingerprint
from deploy.backups.problems import NO_ROOM, Problem, no_room, say

FORMAT = 1
MANIFEST, SUMS = "manifest.json", "SHA256SUMS"
NAMES = re.compile(r"\d{8}T\d{6}Z(-[A-Za-z0-9._-]+)?")
PARTIAL = ".partial-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """A backup whose sums were compared.

    Attributes:
        folder: Where it is.
        manifest: What manifest.json says.
        data: The file with the data.
        fingerprint: What the database held.
    """

    folder: Path
    manifest: dict[str, Any]
    data: Path
    fingerprint: Fingerprint

    @property
    def made_at(self) -> datetime.datetime:
        """When the database was as it is in the backup."""
        return datetime.datetime.fromisoformat(self.manifest["made_at"])


def sha256_of(path: Path) -> str:
    """Return the checksum of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Flush a file or a folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read(path: Path) -> Backup:
    """Return a backup after comparing its sums.

    Args:
        path: Its folder, or a file in it.

    Raises:
        Problem: It is none, or not whole.
    """
    folder = path if path.is_dir() else path.parent
    if not path.exists():
        raise Problem(f"There is no backup at {path}.")
    for name in (SUMS, MANIFEST):
        if not (folder / name).is_file():
            raise Problem(f"{folder} is no backup of db_backup.sh: it has no {name}.")
    expected = {}
    for line in (folder / SUMS).read_text(errors="replace").splitlines():
        found = re.fullmatch(r"([0-9a-f]{64})  ([A-Za-z0-9._-]+)", line)
        if not found:
            raise Problem(f"{folder / SUMS} is damaged: {line[:80]!r} is no checksum of a file.")
        expected[found[2]] = found[1]
    for name in sorted(expected | {MANIFEST: ""}):
        file = folder / name
        if not file.is_file():
            raise Problem(f"{file} is missing. Nothing was restored; take another backup.")
        if sha256_of(file) != expected.get(name):
            raise Problem(
                f"The checksum of {file} is not that in {SUMS}: the file was changed, cut or"
                " damaged. Take another backup."
            )
    return _parsed(folder, expected)


def _parsed(folder: Path, sums: dict[str, str]) -> Backup:
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        if manifest["format"] != FORMAT:
            raise Problem(
                f"{folder / MANIFEST} has format {manifest['format']!r}, and this release reads"
                f" {FORMAT}: restore it with the release that made it."
            )
        fingerprint = Fingerprint(
            tables={str(name): int(rows) for name, rows in manifest["tables"].items()},
            sums={str(name): int(nano) for name, nano in manifest["sums"].items()},
            ledger=manifest["ledger"],
            migrations=[str(name) for name in manifest["migrations"]],
        )
        data = folder / manifest["file"]
        datetime.datetime.fromisoformat(manifest["made_at"])
        agrees = (
            sums.get(data.name) == manifest["sha256"]
            and data.stat().st_size == manifest["bytes"]
            and fingerprint.ledger_nano == manifest["ledger_nano_dollars"]
        )
    except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
        why = f"{type(error).__name__}: {error}"
        raise Problem(f"{folder / MANIFEST} is damaged ({why}). Take another backup.") from error
    if not agrees:
        raise Problem(f"{folder / MANIFEST} does not fit {data.name}: it is of another backup.")
    return Backup(folder=folder, manifest=manifest, data=data, fingerprint=fingerprint)


def all_in(root: Path) -> list[Path]:
    """Return the folders of backups, oldest first; whether they are whole is not looked at."""
    if not root.is_dir():
        return []
    return sorted(each for each in root.iterdir() if each.is_dir() and NAMES.fullmatch(each.name))


def newest_good(root: Path) -> Backup | None:
    """Return the newest backup that is whole."""
    for folder in reversed(all_in(root)):
        try:
            return read(folder)
        except Problem as problem:
            say(f"   not used: {problem}")
    return None


@contextmanager
def writing(root: Path) -> Iterator[Path]:
    """Give a new folder to write a backup into; it is gone afterwards, unless it was sealed.

    One at a time: what a killed one left is removed.

    Raises:
        Problem: Another backup is being written, or there is no room.
    """
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (root / ".lock").open("a")
    except OSError as error:
        raise Problem(
            f"{root} cannot be written: {error.strerror}. Choose another --to."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Problem(f"Another backup into {root} is under way; wait for it.") from error
        for left in root.glob(f"{PARTIAL}*"):
            shutil.rmtree(left)
        scratch = root / f"{PARTIAL}{secrets.token_hex(6)}"
        try:
            scratch.mkdir(mode=0o700)
            yield scratch
        except OSError as error:
            if error.errno in NO_ROOM:
                raise no_room(root, error.strerror) from error
            raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def seal(scratch: Path, name: str, manifest: dict[str, Any]) -> Path:
    """Write manifest and sums, flush everything, and give the folder its name."""
    data = scratch / manifest["file"]
    manifest |= {"sha256": sha256_of(data), "bytes": data.stat().st_size}
    text = json.dumps({"format": FORMAT, **manifest}, indent=2) + "\n"
    (scratch / MANIFEST).write_text(text)
    lines = [f"{sha256_of(scratch / each)}  {each}\n" for each in (data.name, MANIFEST)]
    (scratch / SUMS).write_text("".join(lines))
    for file in scratch.iterdir():
        file.chmod(0o600)
        sync(file)
    sync(scratch)
    target = scratch.parent / name
    os.rename(scratch, target)  # noqa: PTH104 - fails if the name is taken by a folder with files
    sync(target.parent)
    return target


def prune(root: Path, keep_days: int, now: datetime.datetime) -> list[Path]:
    """Remove what is older, and return it; the newest whole backup stays, however old."""
    last = newest_good(root)
    if last is None:
        return []  # better a damaged backup than none
    removed = []
    for folder in all_in(root):
        made = datetime.datetime.strptime(folder.name[:16], "%Y%m%dT%H%M%S%z")
        if folder != last.folder and made < now - datetime.timedelta(days=keep_days):
            # Renamed first: what is half removed is never taken for a backup.
            gone = root / f"{PARTIAL}{folder.name}"
            folder.rename(gone)
            shutil.rmtree(gone, ignore_errors=True)  # else by the next backup
            removed.append(folder)
    return removed
