"""Files that are written once, checksummed and mapped."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MANIFEST, VERIFIED = "manifest.json", "verified.json"
_BLOCK = 4 << 20


class BadSnapshotError(Exception):
    """A snapshot cannot be used; the message says why."""


class OtherSnapshotError(BadSnapshotError):
    """A snapshot is sound, and made in a way that is of no use to this process."""


class MappedFiles:
    """Files that are mapped, kept open to notice whoever writes into them."""

    def __init__(self, *paths: Path) -> None:
        """Open the files.

        Raises:
            FileNotFoundError: One is not there.
        """
        self._names = [path.name for path in paths]
        self._descriptors: list[int] = []
        for path in paths:
            self._descriptors.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        self._stamps = self._look()

    @property
    def size(self) -> int:
        """Return how many bytes they had when they were opened."""
        return sum(size for size, _ in self._stamps)

    def is_touched(self) -> bool:
        """Return whether anybody has written into them since they were opened."""
        for descriptor, stamp in zip(self._descriptors, self._stamps, strict=True):
            found = os.fstat(descriptor)
            if (found.st_size, found.st_mtime_ns) != stamp:
                return True
        return False

    def array(self, number: int, dtype: str) -> NDArray[Any]:
        """Return a file as a read-only array: nothing can map it writable."""
        descriptor = self._descriptors[number]
        if not os.fstat(descriptor).st_size:
            return np.empty(0, dtype=dtype)
        return np.frombuffer(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ), dtype=dtype)

    def sums(self) -> Iterator[tuple[str, str]]:
        """Yield the name of each file and the SHA-256 sum of what is mapped."""
        for number, name in enumerate(self._names):
            yield name, sum_of(memoryview(self.array(number, "u1")))

    def _look(self) -> list[tuple[int, int]]:
        found = [os.fstat(each) for each in self._descriptors]
        return [(each.st_size, each.st_mtime_ns) for each in found]

    def __del__(self) -> None:
        """Let go of the files; arrays that are still in use keep what they map."""
        for descriptor in self._descriptors:
            os.close(descriptor)


class HashedFile:
    """A new file whose sum is known when it is closed; it is on the disk then."""

    def __init__(self, path: Path) -> None:
        """Create the file, which must not be there."""
        self._file: BinaryIO = path.open("xb")
        self._sum = hashlib.sha256()

    def write(self, array: NDArray[Any]) -> None:
        """Append an array's bytes. Any: of whatever type."""
        data = memoryview(np.ascontiguousarray(array)).cast("B") if array.size else memoryview(b"")
        self._file.write(data)
        self._sum.update(data)

    def finish(self) -> dict[str, Any]:
        """Close the file and return its sum, as a manifest has it (Any: JSON)."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self.close()
        return {"sha256": self._sum.hexdigest()}

    def close(self) -> None:
        """Close a file that was given up."""
        self._file.close()


def sync_folder(folder: Path) -> None:
    """Put a folder's entries on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Put a file's content on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sum_of(data: memoryview) -> str:
    """Return the SHA-256 sum of bytes, as hexadecimal digits."""
    found = hashlib.sha256()
    for start in range(0, len(data), _BLOCK):
        found.update(data[start : start + _BLOCK])
    return found.hexdigest()


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write a manifest with its own sum; it is on the disk afterwards. Any: JSON."""
    body = json.dumps(manifest, sort_keys=True)
    own_sum = hashlib.sha256(body.encode()).hexdigest()
    with (folder / MANIFEST).open("x", encoding="utf-8") as file:
        file.write(f"{body}\n{own_sum}\n")
        file.flush()
        os.fsync(file.fileno())


def read_signed(folder: Path, version: int) -> dict[str, Any]:
    """Return a manifest whose own sum and format are right. Any: JSON.

    Raises:
        BadSnapshotError: It is damaged, or of another version of this package.
        FileNotFoundError: There is none.
    """
    body, _, own_sum = (folder / MANIFEST).read_bytes().partition(b"\n")
    if hashlib.sha256(body).hexdigest().encode() != own_sum.strip():
        raise BadSnapshotError("the manifest is damaged")
    manifest: dict[str, Any] = json.loads(body)
    if manifest.get("format") != version:
        raise BadSnapshotError(f"its format is {manifest.get('format')}, not {version}")
    return manifest


def write_note(folder: Path, note: dict[str, Any]) -> None:
    """Write down when files were last verified, if this process may. Any: JSON."""
    scratch = folder / f"{VERIFIED}.{os.getpid()}"
    try:
        scratch.write_text(json.dumps(note))
        scratch.replace(folder / VERIFIED)
    except OSError:  # a reader that may not write, or a folder that is just being replaced
        return


def read_note(folder: Path) -> dict[str, Any]:
    """Return what `write_note` has written (Any: JSON); OSError or ValueError if nothing is."""
    note: dict[str, Any] = json.loads((folder / VERIFIED).read_bytes())
    return note
