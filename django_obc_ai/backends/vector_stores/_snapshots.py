"""One moment of an index on disk: three arrays and a manifest with their checksums.

A snapshot is a folder that is written once and never changed. Readers map its files, so that
all processes share their memory, and nothing in them is executed or unpickled.

| file | holds |
| --- | --- |
| ``ids.i64`` | (n,) little-endian int64, strictly rising |
| ``vectors.f32`` | (n, d) little-endian float32, row i belongs to id i |
| ``halves.f16`` | the same in float16, which searches read: half the bytes |
| ``manifest.json`` | what moment of which index this is, sizes, SHA-256 sums, and its own sum |
| ``verified.json`` | sizes and times of the files when their sums were last compared |
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from uuid import UUID

import numpy as np

from django_obc_ai.backends.vector_stores._exact import largest_norm, norms
from django_obc_ai.types import ReplicaState

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = 1
MANIFEST, VERIFIED = "manifest.json", "verified.json"
IDS, VECTORS, HALVES = "ids.i64", "vectors.f32", "halves.f16"
#: Up to here the sums are compared at every opening: about 50 ms.
ALWAYS_VERIFIED_BYTES = 64 << 20
#: Larger files that have not been touched are compared again after so many seconds.
VERIFY_AFTER_SECONDS = 7 * 86_400
_BLOCK = 4 << 20
_SORT_ROWS = 8_192


class BadSnapshotError(Exception):
    """A snapshot cannot be used; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """An opened snapshot. The arrays are read-only views of mapped files.

    Attributes:
        ids: (n,) int64, strictly rising.
        vectors: (n, d) float32.
        halves: (n, 2 d) uint8, the bytes of (n, d) float16.
        residual: Length of the longest difference between a vector and its half.
        largest: Length of the longest vector.
        sums: SHA-256 sums by file name, as the manifest has them.
        files: What is mapped.
    """

    folder: Path
    state: ReplicaState
    ids: NDArray[np.int64]
    vectors: NDArray[np.float32]
    halves: NDArray[np.uint8]
    residual: float
    largest: float
    sums: dict[str, str]
    files: MappedFiles


class MappedFiles:
    """Files that are mapped, kept open to notice whoever writes into them."""

    def __init__(self, *paths: Path) -> None:
        """Open the files.

        Raises:
            FileNotFoundError: One is not there.
        """
        self._descriptors: list[int] = []
        for path in paths:
            self._descriptors.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        self._stamps = self._look()

    def is_touched(self) -> bool:
        """Return whether anybody has written into them since they were opened."""
        return self._look() != self._stamps

    def array(self, number: int, dtype: str) -> NDArray[Any]:
        """Return a file as a read-only array: nothing can map it writable."""
        descriptor = self._descriptors[number]
        if not os.fstat(descriptor).st_size:
            return np.empty(0, dtype=dtype)
        return np.frombuffer(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ), dtype=dtype)

    def _look(self) -> list[tuple[int, int]]:
        found = [os.fstat(each) for each in self._descriptors]
        return [(each.st_size, each.st_mtime_ns) for each in found]

    def __del__(self) -> None:
        """Let go of the files; arrays that are still in use keep what they map."""
        for descriptor in self._descriptors:
            os.close(descriptor)


class _HashedFile:
    """A new file whose sum is known when it is closed; it is on the disk then."""

    def __init__(self, path: Path) -> None:
        self._file: BinaryIO = path.open("xb")
        self._sum = hashlib.sha256()

    def write(self, array: NDArray[Any]) -> None:
        data = memoryview(np.ascontiguousarray(array)).cast("B") if array.size else memoryview(b"")
        self._file.write(data)
        self._sum.update(data)

    def finish(self) -> dict[str, Any]:
        self._file.flush()
        os.fsync(self._file.fileno())
        self.close()
        return {"sha256": self._sum.hexdigest()}

    def close(self) -> None:
        self._file.close()


class SnapshotWriter:
    """Writes a snapshot into a new folder, row by row; memory stays small."""

    def __init__(self, folder: Path, dimension: int) -> None:
        """Create the folder and its empty files."""
        folder.mkdir(parents=True)
        self.folder = folder
        self.dimension = dimension
        self._files = {name: _HashedFile(folder / name) for name in (IDS, VECTORS, HALVES)}
        self._count = 0
        self._last: int | None = None
        self._is_sorted = True
        self._residual = self._largest = 0.0

    def add(self, ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Append rows: ids (n,), vectors (n, d)."""
        if not len(ids):
            return
        exact = vectors.astype("<f4", copy=False)
        with np.errstate(over="ignore"):  # a component beyond float16 makes the residual infinite
            halves = exact.astype("<f2")
        self._residual = max(self._residual, float(norms(exact - halves.astype("<f4")).max()))
        self._largest = max(self._largest, largest_norm(exact))
        is_rising = bool((np.diff(ids) > 0).all()) and (self._last is None or ids[0] > self._last)
        self._is_sorted = self._is_sorted and is_rising
        self._last = int(ids[-1])
        self._count += len(ids)
        for name, array in ((IDS, ids.astype("<i8")), (VECTORS, exact), (HALVES, halves)):
            self._files[name].write(array)

    def finish(self, index: str, state: ReplicaState) -> None:
        """Write the manifest; everything is on the disk afterwards."""
        files = {name: file.finish() for name, file in self._files.items()}
        if not self._is_sorted:
            files = self._sort()
        manifest = {
            "format": FORMAT,
            "index": index,
            "index_uuid": str(state.index_uuid),
            "generation": str(state.generation),
            "version": state.version,
            "stamp": state.stamp,
            "dimension": self.dimension,
            "count": self._count,
            "residual": self._residual,
            "largest": self._largest,
            "files": files,
        }
        body = json.dumps(manifest, sort_keys=True)
        own_sum = hashlib.sha256(body.encode()).hexdigest()
        with (self.folder / MANIFEST).open("x", encoding="utf-8") as file:
            file.write(f"{body}\n{own_sum}\n")
            file.flush()
            os.fsync(file.fileno())
        mark_verified(self.folder)
        sync_folder(self.folder)

    def close(self) -> None:
        """Close the files of a snapshot that was given up."""
        for file in self._files.values():
            file.close()

    def _sort(self) -> dict[str, Any]:
        """Write the rows again by rising id; of equal ids the last one counts."""
        ids = np.fromfile(self.folder / IDS, dtype="<i8")
        vectors = MappedFiles(self.folder / VECTORS).array(0, "<f4")
        vectors = vectors.reshape(len(ids), self.dimension)
        order = np.argsort(ids, kind="stable")
        order = order[np.append(ids[order][1:] != ids[order][:-1], True)]
        writer = SnapshotWriter(self.folder / "sorted", self.dimension)
        for start in range(0, len(order), _SORT_ROWS):
            rows = order[start : start + _SORT_ROWS]
            writer.add(ids[rows], vectors[rows])
        files = {name: file.finish() for name, file in writer._files.items()}
        for name in files:
            (writer.folder / name).replace(self.folder / name)
        writer.folder.rmdir()
        self._count = len(order)
        return files


def sync_folder(folder: Path) -> None:
    """Put a folder's entries on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return a manifest whose own sum is right. Any: JSON.

    Raises:
        BadSnapshotError: It is damaged, or of another version of this package.
        FileNotFoundError: There is none.
    """
    body, _, own_sum = (folder / MANIFEST).read_bytes().partition(b"\n")
    if hashlib.sha256(body).hexdigest().encode() != own_sum.strip():
        raise BadSnapshotError("the manifest is damaged")
    manifest: dict[str, Any] = json.loads(body)
    if manifest.get("format") != FORMAT:
        raise BadSnapshotError(f"its format is {manifest.get('format')}, not {FORMAT}")
    try:
        state_of(manifest)
        numbers = [manifest[name] for name in ("version", "count", "dimension")]
        lengths = [manifest[name] for name in ("residual", "largest")]
        sums = [manifest["files"][name]["sha256"] for name in (IDS, VECTORS, HALVES)]
    except (KeyError, TypeError, ValueError, AttributeError):
        raise BadSnapshotError("the manifest lacks something") from None
    is_right = (
        all(type(each) is int and each >= 0 for each in numbers)
        and all(type(each) is float and each >= 0 for each in lengths)
        and all(type(each) is str for each in sums)
    )
    if not is_right:
        raise BadSnapshotError("the manifest holds a value of the wrong type")
    return manifest


def state_of(manifest: dict[str, Any]) -> ReplicaState:
    """Return the moment that a manifest names."""
    return ReplicaState(
        index_uuid=UUID(manifest["index_uuid"]),
        generation=UUID(manifest["generation"]),
        version=manifest["version"],
        stamp=manifest["stamp"],
    )


def open_snapshot(folder: Path, manifest: dict[str, Any]) -> Snapshot:
    """Map a snapshot and compare its sizes, and its sums where that is due.

    Due are small snapshots, files whose size or times differ from the last comparison, and
    those that were last compared a week ago.

    Raises:
        BadSnapshotError: A file is missing, has another size or other content.
        FileNotFoundError: The folder is gone: a newer snapshot has replaced it.
    """
    count, dimension = manifest["count"], manifest["dimension"]
    wanted = {IDS: count * 8, VECTORS: count * dimension * 4, HALVES: count * dimension * 2}
    for name, size in wanted.items():
        try:
            held = (folder / name).stat().st_size
        except FileNotFoundError:
            if (folder / MANIFEST).exists():
                raise BadSnapshotError(f"{name} is missing") from None
            raise
        if held != size:
            raise BadSnapshotError(f"{name} has {held} bytes, not {size}")
    files = MappedFiles(*(folder / name for name in wanted))
    snapshot = Snapshot(
        folder=folder,
        state=state_of(manifest),
        ids=files.array(0, "<i8"),
        vectors=files.array(1, "<f4").reshape(count, dimension),
        halves=files.array(2, "u1").reshape(count, 2 * dimension),
        residual=manifest["residual"],
        largest=manifest["largest"],
        sums={name: entry["sha256"] for name, entry in manifest["files"].items()},
        files=files,
    )
    if sum(wanted.values()) <= ALWAYS_VERIFIED_BYTES or not _was_verified(folder):
        verify(snapshot)
        mark_verified(folder)
    return snapshot


def verify(snapshot: Snapshot) -> None:
    """Compare the sums of all files: about a second for each gigabyte.

    Raises:
        BadSnapshotError: A file has other content than it was written with.
    """
    # Any: arrays of three types.
    arrays: dict[str, NDArray[Any]] = {
        IDS: snapshot.ids,
        VECTORS: snapshot.vectors,
        HALVES: snapshot.halves,
    }
    for name, array in arrays.items():
        found = hashlib.sha256()
        data = memoryview(array).cast("B") if array.size else memoryview(b"")
        for start in range(0, len(data), _BLOCK):
            found.update(data[start : start + _BLOCK])
        if found.hexdigest() != snapshot.sums[name]:
            raise BadSnapshotError(f"{name} has changed since it was written")


def mark_verified(folder: Path) -> None:
    """Note sizes and times of the files; without the note they are compared again."""
    note = {"files": _stamps(folder), "at": time.time()}
    scratch = folder / f"{VERIFIED}.{os.getpid()}"
    try:
        scratch.write_text(json.dumps(note))
        scratch.replace(folder / VERIFIED)
    except OSError:  # a reader that may not write, or a folder that is just being replaced
        return


def _was_verified(folder: Path) -> bool:
    try:
        note = json.loads((folder / VERIFIED).read_bytes())
        age = time.time() - note["at"]
        return bool(note["files"] == _stamps(folder) and 0 <= age < VERIFY_AFTER_SECONDS)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _stamps(folder: Path) -> dict[str, list[int]]:
    found = {name: (folder / name).stat() for name in (IDS, VECTORS, HALVES)}
    return {name: [s.st_size, s.st_mtime_ns, s.st_ctime_ns] for name, s in found.items()}
