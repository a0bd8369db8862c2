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

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from django_obc_ai.backends.snapshots.files import HashedFile, MappedFiles
from django_obc_ai.backends.snapshots.kinds import (
    Kind,
    MappedSnapshot,
    map_files,
    read_moment,
    state_of,
    sums_of,
    verify_if_due,
    write_moment,
)
from django_obc_ai.backends.vector_stores._exact import largest_norm, norms
from django_obc_ai.backends.vector_stores.base import check_dimension
from django_obc_ai.logs import events
from django_obc_ai.types import ReplicaState

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from django_obc_ai.backends.vector_stores.base import Batch

FORMAT = 1
IDS, VECTORS, HALVES = "ids.i64", "vectors.f32", "halves.f16"
_SORT_ROWS = 8_192


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot(MappedSnapshot):
    """An opened snapshot. The arrays are read-only views of mapped files.

    Attributes:
        ids: (n,) int64, strictly rising.
        vectors: (n, d) float32.
        halves: (n, 2 d) uint8, the bytes of (n, d) float16.
        residual: Length of the longest difference between a vector and its half.
        largest: Length of the longest vector.
        lineage: A random text that snapshots have in common which continue each other.
    """

    ids: NDArray[np.int64]
    vectors: NDArray[np.float32]
    halves: NDArray[np.uint8]
    residual: float
    largest: float
    lineage: str


class SnapshotWriter:
    """Writes a snapshot into a new folder, row by row; memory stays small."""

    def __init__(self, folder: Path, dimension: int) -> None:
        """Create the folder and its empty files."""
        folder.mkdir(parents=True)
        self.folder = folder
        self.dimension = dimension
        self._files = {name: HashedFile(folder / name) for name in (IDS, VECTORS, HALVES)}
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

    def finish(self, index: str, state: ReplicaState, lineage: str = "") -> None:
        """Write the manifest; everything is on the disk afterwards."""
        files = {name: file.finish() for name, file in self._files.items()}
        if not self._is_sorted:
            files = self._sort()
        write_moment(
            self.folder,
            index,
            state,
            format=FORMAT,
            lineage=lineage,
            dimension=self.dimension,
            count=self._count,
            residual=self._residual,
            largest=self._largest,
            files=files,
        )

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


def save(
    folder: Path,
    batches: Iterable[Batch],
    *,
    index: str,
    dimension: int,
    state: ReplicaState,
    lineage: str = "",
) -> None:
    """Write a snapshot into a new folder.

    Args:
        folder: Where; it is not there yet.
        batches: See `BaseVectorStore.reset`.
        index: Name of the index.
        dimension: d.
        state: The moment that the batches are.
        lineage: That of the snapshot which this one continues; "" begins another.

    Raises:
        DimensionMismatchError: A batch has another dimension.
    """
    writer = SnapshotWriter(folder, dimension)
    try:
        for ids, vectors in batches:
            check_dimension(index, vectors, dimension)
            writer.add(np.asarray(ids, np.int64), np.asarray(vectors, np.float32))
        writer.finish(index, state, lineage or secrets.token_hex(16))
    finally:
        writer.close()


def read_manifest(folder: Path) -> dict[str, Any]:
    """See `read_moment`. Any: JSON."""
    numbers = dict.fromkeys(("count", "dimension"), int)
    lengths = dict.fromkeys(("residual", "largest"), float)
    fields = {**numbers, **lengths, "lineage": str}
    return read_moment(folder, FORMAT, names=(IDS, VECTORS, HALVES), fields=fields)


def open_snapshot(folder: Path, manifest: dict[str, Any]) -> Snapshot:
    """Map a snapshot and compare its sizes, and its sums where that is due. Any: JSON.

    Raises:
        BadSnapshotError: A file is missing, has another size or other content.
        FileNotFoundError: The folder is gone: a newer snapshot has replaced it.
    """
    count, dimension = manifest["count"], manifest["dimension"]
    sizes = {IDS: count * 8, VECTORS: count * dimension * 4, HALVES: count * dimension * 2}
    files = map_files(folder, sizes)
    snapshot = Snapshot(
        folder=folder,
        state=state_of(manifest),
        ids=files.array(0, "<i8"),
        vectors=files.array(1, "<f4").reshape(count, dimension),
        halves=files.array(2, "u1").reshape(count, 2 * dimension),
        residual=manifest["residual"],
        largest=manifest["largest"],
        sums=sums_of(manifest, sizes),
        lineage=manifest["lineage"],
        files=files,
    )
    verify_if_due(snapshot)
    return snapshot


VECTORS_KIND: Kind[Snapshot] = Kind(
    name="vector store",
    setting="VECTOR_STORES",
    subfolder="",
    read_manifest=read_manifest,
    open_snapshot=open_snapshot,
    set_aside=events.VECTOR_STORES_SNAPSHOT_SET_ASIDE,
    not_written=events.VECTOR_STORES_SNAPSHOT_NOT_WRITTEN,
)
