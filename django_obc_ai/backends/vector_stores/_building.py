"""Building an approximate index of a snapshot, and finding what was built.

It takes minutes, so it has a lock of its own: the next snapshots are written meanwhile. Only its
publication takes the writers' lock. The process may be killed at any point.
"""

from __future__ import annotations

import hashlib
import math
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from django_obc_ai.backends.snapshots import kinds
from django_obc_ai.backends.snapshots.files import (
    BadSnapshotError,
    read_signed,
    sync_file,
    sync_folder,
    write_manifest,
)
from django_obc_ai.backends.snapshots.folders import BUILDING, NEIGHBOURS, IndexFolder
from django_obc_ai.backends.vector_stores._approximate import Approximate
from django_obc_ai.backends.vector_stores._neighbours import (
    FORMAT,
    INDEX,
    Neighbours,
    mark_verified,
    open_neighbours,
)
from django_obc_ai.backends.vector_stores._snapshots import IDS, VECTORS, Snapshot

if TYPE_CHECKING:
    from numpy.typing import NDArray

BUILD_LOCK = "building.lock"
#: An end that was asked for comes between two blocks. FAISS begins each with the rows of the upper
#: layers: a graph that is made of many small ones finds less.
_ROWS_PER_BLOCK, _BLOCKS = 8_192, 8
#: k-means learns from so many rows for each list, and wants at least the second number.
_ROWS_PER_LIST, _LEAST_ROWS_PER_LIST = 64, 39
_PUBLISH_SECONDS = 300.0


def build_neighbours(
    faiss: Any,
    folder: IndexFolder[Snapshot],
    snapshot: Snapshot,
    approximate: Approximate,
    *,
    threads: int,
    check: Callable[[], None],
) -> bool:
    """Build and publish the approximate index of a snapshot, under the build lock.

    To be called in a thread of its own: FAISS's own threads end with it.

    Args:
        faiss: The package (Any: it has no types).
        folder: Where.
        snapshot: Of what.
        approximate: With what.
        threads: Threads of the build.
        check: Called every few seconds; whatever it raises ends the build.

    Returns:
        Whether it was published; not, if what the snapshot continues has been given up.

    Raises:
        BadSnapshotError: The snapshot is damaged.
        OSError: Files cannot be written.
    """
    if not _has_lineage(folder, snapshot):
        return False
    names = [IDS, VECTORS] if approximate.kind == "hnsw" else [IDS]
    scratch = folder.path / f"{BUILDING}{os.getpid()}-{secrets.token_hex(6)}"
    scratch.mkdir(parents=True)
    try:
        _link(snapshot, scratch, names)
        kinds.verify(snapshot)
        faiss.omp_set_num_threads(threads)  # of this thread only
        if approximate.kind == "hnsw":
            index = _graph(faiss, snapshot, approximate, check)
            faiss.write_index(index, str(scratch / INDEX), faiss.IO_FLAG_SKIP_STORAGE)
        else:
            index = _lists(faiss, snapshot, approximate, check)
            faiss.write_index(index, str(scratch / INDEX))
        del index
        sync_file(scratch / INDEX)
        with (scratch / INDEX).open("rb") as file:
            own_sum = hashlib.file_digest(file, "sha256").hexdigest()
        sums = {**{name: snapshot.sums[name] for name in names}, INDEX: own_sum}
        manifest = {
            "format": FORMAT,
            "index": folder.index,
            "lineage": snapshot.lineage,
            "generation": str(snapshot.state.generation),
            "version": snapshot.state.version,
            "dimension": int(snapshot.vectors.shape[1]),
            "count": len(snapshot.ids),
            "built_with": approximate.built_with,
            "files": {
                name: {"sha256": each, "bytes": (scratch / name).stat().st_size}
                for name, each in sums.items()
            },
        }
        write_manifest(scratch, manifest)
        mark_verified(scratch, list(sums))
        sync_folder(scratch)
        return _publish(folder, scratch, snapshot)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def remove_leftovers(folder: IndexFolder[Snapshot]) -> None:
    """Remove what killed builders have left, under the build lock."""
    for leftover in folder.named(BUILDING):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)


def find_neighbours(
    faiss: Any, folder: IndexFolder[Snapshot], snapshot: Snapshot, approximate: Approximate
) -> Neighbours | None:
    """Open the newest approximate index that fits; set aside what is damaged.

    Args:
        faiss: The package (Any: it has no types).
        folder: Where.
        snapshot: Its lineage counts.
        approximate: What it must have been built with.
    """
    for each in sorted(folder.named(NEIGHBOURS), reverse=True):
        try:
            manifest = read_signed(each, FORMAT)
            if manifest["lineage"] == snapshot.lineage != "" and (
                manifest["built_with"] == approximate.built_with
            ):
                return open_neighbours(faiss, each, folder.index)
        except FileNotFoundError:
            if each.exists():
                folder.set_aside(each, "a file is missing")
        except KeyError:
            folder.set_aside(each, "the manifest lacks something")
        except BadSnapshotError as error:
            folder.set_aside(each, str(error))
    return None


def _has_lineage(folder: IndexFolder[Snapshot], snapshot: Snapshot) -> bool:
    """Return whether what the snapshot continues is still there."""
    found = (manifest["lineage"] for manifest, _ in folder.manifests())
    return snapshot.lineage != "" and snapshot.lineage in found


def _publish(folder: IndexFolder[Snapshot], scratch: Path, snapshot: Snapshot) -> bool:
    with folder.lock(wait_seconds=_PUBLISH_SECONDS) as is_writer:
        if not is_writer or not _has_lineage(folder, snapshot):
            return False
        version = f"{snapshot.state.version:020d}"
        target = folder.path / f"{NEIGHBOURS}{version}-{secrets.token_hex(6)}"
        others = folder.named(NEIGHBOURS)
        scratch.rename(target)
        sync_folder(folder.path)
        for each in others:
            folder.remove(each)
    return True


def _link(snapshot: Snapshot, scratch: Path, names: list[str]) -> None:
    """Share files with the snapshot: they live on when its next one replaces it."""
    is_verified = kinds.was_verified(snapshot.folder, snapshot.sums)
    for name in names:
        try:
            (scratch / name).hardlink_to(snapshot.folder / name)
        except OSError:  # it was replaced meanwhile, or the file system knows no links
            array = snapshot.ids if name == IDS else snapshot.vectors
            with (scratch / name).open("xb") as file:
                file.write(memoryview(array).cast("B"))
            sync_file(scratch / name)
    if is_verified:  # a link changes a file's times
        kinds.mark_verified(snapshot.folder, snapshot.sums)


def _blocks(vectors: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    rows = max(_ROWS_PER_BLOCK, -(-len(vectors) // _BLOCKS))
    return [vectors[i : i + rows] for i in range(0, len(vectors), rows)]


def _graph(
    faiss: Any, snapshot: Snapshot, approximate: Approximate, check: Callable[[], None]
) -> Any:
    """Return a graph of neighbours (Any: FAISS has no types)."""
    vectors = snapshot.vectors
    index = faiss.IndexHNSWFlat(vectors.shape[1], approximate.m, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = approximate.ef_construction
    codes = faiss.downcast_index(index.storage).codes
    codes.resize(vectors.nbytes)  # room for all at once, instead of twice that while it grows
    codes.resize(0)
    for block in _blocks(vectors):
        check()
        index.add(block)
    check()
    return index


def _lists(
    faiss: Any, snapshot: Snapshot, approximate: Approximate, check: Callable[[], None]
) -> Any:
    """Return lists of vectors in eight bits, by the nearest of their centres."""
    vectors = snapshot.vectors
    count, dimension = vectors.shape
    lists = min(approximate.lists or round(4 * math.sqrt(count)), count // _LEAST_ROWS_PER_LIST)
    lists = max(1, lists)
    quantizer = faiss.IndexFlatIP(dimension)
    index = faiss.IndexIVFScalarQuantizer(
        quantizer,
        dimension,
        lists,
        faiss.ScalarQuantizer.QT_8bit,
        faiss.METRIC_INNER_PRODUCT,
    )
    rows = np.linspace(0, count - 1, min(count, _ROWS_PER_LIST * lists)).astype(np.int64)
    index.train(vectors[rows])
    for block in _blocks(vectors):
        check()
        index.add(block)
    check()
    return index
