"""An approximate index on disk: what FAISS made of one snapshot, and where it stands now.

It is a folder beside the snapshots, written once, checksummed and mapped like them:

| file | holds |
| --- | --- |
| ``ids.i64`` | the snapshot's ids; the index knows chunks by their place in it |
| ``vectors.f32`` | of a graph, the snapshot's vectors; both are links to the snapshot's own files |
| ``index.faiss`` | the graph without vectors, or the lists with theirs in eight bits |
| ``manifest.json`` | what it was built of and with, sizes, SHA-256 sums, and its own sum |

Later snapshots of the same lineage go on using it: chunks never change, so an id that it knows is
the same vector. `pair` says where each of its rows is in another snapshot, and which rows it does
not know.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np

from django_obc_ai.backends.snapshots.files import (
    BadSnapshotError,
    MappedFiles,
    read_note,
    read_signed,
    sum_of,
    write_note,
)
from django_obc_ai.backends.snapshots.kinds import (
    ALWAYS_VERIFIED_BYTES,
    VERIFY_AFTER_SECONDS,
    map_files,
)
from django_obc_ai.backends.vector_stores._snapshots import IDS, VECTORS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from django_obc_ai.backends.vector_stores._snapshots import Snapshot

FORMAT = 1
INDEX = "index.faiss"
_MAX_KNOWN_PARAMETERS = 256
#: A new one is due when so many rows are not in it or gone from the snapshot, or this share.
_STALE_ROWS, _STALE_SHARE = 16_384, 16


class Neighbours:
    """An opened approximate index. Safe to use from many threads and after a fork."""

    def __init__(
        self, faiss: Any, folder: Path, manifest: dict[str, Any], files: MappedFiles
    ) -> None:
        """Map the index. Any: FAISS has no types; JSON.

        Raises:
            BadSnapshotError: This version of FAISS cannot read it.
        """
        self.folder = folder
        self._files = files
        self.lineage: str = manifest["lineage"]
        self.generation = UUID(manifest["generation"])
        self.built_with: dict[str, Any] = manifest["built_with"]
        self.ids: NDArray[np.int64] = files.array(0, "<i8")
        # Of the others, only what they were when they were opened counts.
        self.index_file = MappedFiles(folder / INDEX)
        self._faiss = faiss
        self._is_graph = self.built_with["kind"] == "hnsw"
        self._parameters: dict[int, Any] = {}
        flags = faiss.IO_FLAG_MMAP_IFC | (faiss.IO_FLAG_SKIP_STORAGE if self._is_graph else 0)
        try:
            self._index = faiss.read_index(str(folder / INDEX), flags)
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise BadSnapshotError(f"FAISS cannot read {INDEX}: {reason}") from error
        if self._index.ntotal != len(self.ids):
            raise BadSnapshotError(f"{INDEX} holds {self._index.ntotal} chunks")
        if self._is_graph:
            self._vectors = files.array(2, "u1")
            self._storage = _mapped_storage(faiss, self._index, self._vectors)

    @property
    def kind(self) -> str:
        """Return what it is, for people."""
        if self._is_graph:
            return f"HNSW, M {self.built_with['m']}"
        return f"IVF+SQ8, {self._index.nlist} lists"

    def cost(self, effort: int) -> float:
        """Return how many rows an exact search reads in the time of an effort."""
        if self._is_graph:
            return _ROWS_PER_CANDIDATE * effort
        lists: int = self._index.nlist
        return _ROWS_PER_CODE * len(self.ids) * min(effort, lists) / lists + lists

    def nearest(self, query: NDArray[np.float32], wanted: int, effort: int) -> NDArray[np.int64]:
        """Return about the nearest rows, at most as many as wanted, about the best first.

        Args:
            query: (d,) float32, contiguous.
            wanted: At most so many.
            effort: Candidates of a graph, or lists that are read.
        """
        wanted = min(wanted, len(self.ids))
        parameters = self._parameters.get(effort)
        if parameters is None:
            parameters = self._parameters_of(effort)
        scores = np.empty(wanted, dtype=np.float32)
        rows = np.empty(wanted, dtype=np.int64)
        pointer = self._faiss.swig_ptr
        # One query at a time: FAISS would start threads of its own for more, which a forked
        # process waits for in vain.
        self._index.search_c(1, pointer(query), wanted, pointer(scores), pointer(rows), parameters)
        return rows if rows[-1] >= 0 else rows[rows >= 0]

    def _parameters_of(self, effort: int) -> Any:
        if self._is_graph:
            parameters = self._faiss.SearchParametersHNSW(efSearch=effort)
        else:
            parameters = self._faiss.SearchParametersIVF(nprobe=min(effort, self._index.nlist))
        if len(self._parameters) < _MAX_KNOWN_PARAMETERS:
            self._parameters[effort] = parameters
        return parameters


def _mapped_storage(faiss: Any, index: Any, vectors: NDArray[np.uint8]) -> Any:
    """Let a graph read its vectors from a mapped file, and return what must live as long."""
    storage = faiss.IndexFlat(index.d, index.metric_type)
    # A view must name an owner; that of the mapped graph is one which is there in any case.
    owner = index.hnsw.neighbors.owner
    view = faiss.MaybeOwnedVectorUInt8.create_view(faiss.swig_ptr(vectors), vectors.nbytes, owner)
    storage.codes = view
    storage.ntotal = index.ntotal
    index.storage = storage
    index.own_fields = False
    return storage


#: What a candidate of a graph costs, and a row of a list, in rows of an exact search; measured.
_ROWS_PER_CANDIDATE = 60
_ROWS_PER_CODE = 1


def open_neighbours(faiss: Any, folder: Path, index: str) -> Neighbours:
    """Map an approximate index and compare its sizes, and its sums where that is due.

    Raises:
        BadSnapshotError: A file is missing or damaged, or it is another index's.
        FileNotFoundError: The folder is gone: a newer one has replaced it.
    """
    manifest = read_signed(folder, FORMAT)
    try:
        sizes = {name: manifest["files"][name]["bytes"] for name in manifest["files"]}
        sums = {name: manifest["files"][name]["sha256"] for name in manifest["files"]}
        is_graph = manifest["built_with"]["kind"] == "hnsw"
        is_right = manifest["index"] == index and manifest["lineage"] and manifest["generation"]
        wanted = [IDS, INDEX, *([VECTORS] if is_graph else [])]
    except (KeyError, TypeError, AttributeError):
        raise BadSnapshotError("the manifest lacks something") from None
    if not is_right or sorted(sizes) != sorted(wanted):
        raise BadSnapshotError("it belongs to another index")
    files = map_files(folder, {name: sizes[name] for name in wanted})
    # FAISS follows numbers that it reads there: a damaged file could end the process.
    if sum(sizes.values()) <= ALWAYS_VERIFIED_BYTES or not _was_verified(folder, wanted):
        for number, name in enumerate(wanted):
            if sum_of(memoryview(files.array(number, "u1"))) != sums[name]:
                raise BadSnapshotError(f"{name} has changed since it was written")
        mark_verified(folder, wanted)
    return Neighbours(faiss, folder, manifest, files)


def mark_verified(folder: Path, names: list[str]) -> None:
    """Note sizes and times of the files; without the note they are compared again."""
    write_note(folder, {"files": _stamps(folder, names), "at": time.time()})


def _was_verified(folder: Path, names: list[str]) -> bool:
    try:
        note = read_note(folder)
        age = time.time() - note["at"]
        return bool(note["files"] == _stamps(folder, names) and 0 <= age < VERIFY_AFTER_SECONDS)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _stamps(folder: Path, names: list[str]) -> dict[str, list[int]]:
    """Return sizes and times; when a link came or went does not count."""
    found = {}
    for name in names:
        stat = (folder / name).stat()
        found[name] = [stat.st_size, stat.st_mtime_ns]
        found[name] += [stat.st_ctime_ns] if name == INDEX else []
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairing:
    """An approximate index as it stands to a snapshot.

    Attributes:
        neighbours: The index.
        base: The snapshot.
        rows: (n,) int64, the snapshot's row of each row of the index, -1 if it is gone; None
            if they are the same.
        later: The end of the snapshot that the index does not know, as a snapshot; None if
            there is none.
        later_start: Its first row.
        others: Rows before it that the index does not know.
        known: How many of the index's rows the snapshot has.
    """

    neighbours: Neighbours
    base: Snapshot
    rows: NDArray[np.int64] | None
    later: Snapshot | None
    later_start: int
    others: NDArray[np.int64]
    known: int

    @property
    def is_stale(self) -> bool:
        """Return whether a new index is worth building."""
        missing = len(self.base.ids) - self.known
        gone = len(self.neighbours.ids) - self.known
        return missing + gone > max(_STALE_ROWS, len(self.neighbours.ids) // _STALE_SHARE)


def pair(neighbours: Neighbours, base: Snapshot) -> Pairing:
    """Return where the rows of an index are in a snapshot of its lineage."""
    total = len(base.ids)
    if np.array_equal(neighbours.ids, base.ids):
        return Pairing(
            neighbours=neighbours,
            base=base,
            rows=None,
            later=None,
            later_start=total,
            others=np.empty(0, dtype=np.int64),
            known=total,
        )
    places = np.searchsorted(base.ids, neighbours.ids)
    is_known = places < total
    is_known[is_known] = base.ids[places[is_known]] == neighbours.ids[is_known]
    rows = np.where(is_known, places, -1)
    is_covered = np.zeros(total, dtype=bool)
    is_covered[places[is_known]] = True
    covered = np.flatnonzero(is_covered)
    last = int(covered[-1]) + 1 if len(covered) else 0
    start = min(total, -(-last // 8) * 8)  # a scan wants whole bytes of bits
    later = None
    if start < total:
        later = replace(
            base, ids=base.ids[start:], vectors=base.vectors[start:], halves=base.halves[start:]
        )
    return Pairing(
        neighbours=neighbours,
        base=base,
        rows=rows,
        later=later,
        later_start=start,
        others=np.flatnonzero(~is_covered[:start]),
        known=len(covered),
    )
