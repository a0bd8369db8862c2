"""The words of an index at one moment, on disk: six arrays and a manifest with their checksums.

A snapshot is a folder that is written once and never changed; see `backends/snapshots`.

| file | holds |
| --- | --- |
| ``ids.i64`` | (n,) little-endian int64, strictly rising |
| ``lengths.i32`` | (n,) int32, words of each chunk |
| ``words.u64`` | (v,) uint64, hashes of the words, strictly rising |
| ``starts.i64`` | (v + 1,) int64, where the pairs of each word begin |
| ``rows.i32`` | (p,) int32, which chunks hold the word |
| ``counts.u16`` | (p,) uint16, how often |
| ``manifest.json`` | what moment of which index this is, how words were found, sizes and sums |
| ``verified.json`` | sizes and times of the files when their sums were last compared |
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from django_obc_ai.backends.lexical_stores._segments import Merged, Segment, build
from django_obc_ai.backends.lexical_stores.words import made_with
from django_obc_ai.backends.snapshots.files import HashedFile, OtherSnapshotError
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
from django_obc_ai.logs import events
from django_obc_ai.types import ReplicaState

if TYPE_CHECKING:
    from django_obc_ai.backends.lexical_stores._segments import Block

FORMAT = 1
IDS, LENGTHS, WORDS = "ids.i64", "lengths.i32", "words.u64"
STARTS, ROWS, COUNTS = "starts.i64", "rows.i32", "counts.u16"
FILES = (IDS, LENGTHS, WORDS, STARTS, ROWS, COUNTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class WordSnapshot(MappedSnapshot):
    """An opened snapshot.

    Attributes:
        segment: All that it holds; but for two small arrays, read-only views of mapped files.
    """

    segment: Segment


def save(
    folder: Path,
    segments: Sequence[Segment],
    *,
    index: str,
    state: ReplicaState,
    watched: Callable[[Iterable[Block]], Iterable[Block]] = iter,
) -> None:
    """Write a snapshot of what counts in some segments into a new folder.

    Args:
        folder: Where; it is not there yet.
        segments: See `Merged`; none is an empty index.
        index: Name of the index.
        state: The moment that they are.
        watched: Passes on what is written, and may raise to end that.
    """
    nothing = build(np.empty(0, dtype=np.int64), [], state.version)
    merged = Merged(segments or [nothing])
    folder.mkdir(parents=True)
    files = {name: HashedFile(folder / name) for name in FILES}
    words = pairs = 0
    try:
        files[IDS].write(merged.ids.astype("<i8", copy=False))
        files[LENGTHS].write(merged.lengths.astype("<i4", copy=False))
        files[STARTS].write(np.zeros(1, dtype="<i8"))
        for found, sizes, rows, counts in watched(merged.blocks()):
            files[WORDS].write(found.astype("<u8", copy=False))
            files[STARTS].write((pairs + np.cumsum(sizes)).astype("<i8", copy=False))
            files[ROWS].write(rows.astype("<i4", copy=False))
            files[COUNTS].write(counts.astype("<u2", copy=False))
            words, pairs = words + len(found), pairs + len(rows)
        write_moment(
            folder,
            index,
            state,
            format=FORMAT,
            made_with=made_with(),
            count=len(merged.ids),
            words=words,
            pairs=pairs,
            files={name: file.finish() for name, file in files.items()},
        )
    finally:
        for file in files.values():
            file.close()


def read_manifest(folder: Path) -> dict[str, Any]:
    """See `read_moment`. Any: JSON.

    Raises:
        OtherSnapshotError: Its words were found in another way: they are not those of queries.
    """
    fields = {**dict.fromkeys(("count", "words", "pairs"), int), "made_with": str}
    manifest = read_moment(folder, FORMAT, names=FILES, fields=fields)
    if manifest["made_with"] != made_with():
        raise OtherSnapshotError(f"its words were found by {manifest['made_with']}")
    return manifest


def open_snapshot(folder: Path, manifest: dict[str, Any]) -> WordSnapshot:
    """Map a snapshot and compare its sizes, and its sums where that is due. Any: JSON.

    Raises:
        BadSnapshotError: A file is missing, has another size or other content.
        FileNotFoundError: The folder is gone: a newer snapshot has replaced it.
    """
    count, words, pairs = manifest["count"], manifest["words"], manifest["pairs"]
    sizes = {
        IDS: count * 8,
        LENGTHS: count * 4,
        WORDS: words * 8,
        STARTS: words * 8 + 8,
        ROWS: pairs * 4,
        COUNTS: pairs * 2,
    }
    files = map_files(folder, sizes)
    state = state_of(manifest)
    segment = Segment(
        ids=files.array(0, "<i8"),
        lengths=files.array(1, "<i4"),
        versions=np.broadcast_to(np.int64(state.version), count),
        words=files.array(2, "<u8"),
        starts=files.array(3, "<i8"),
        rows=files.array(4, "<i4"),
        counts=files.array(5, "<u2"),
        is_alive=np.ones(count, dtype=bool),
    )
    snapshot = WordSnapshot(
        folder=folder, state=state, sums=sums_of(manifest, sizes), files=files, segment=segment
    )
    verify_if_due(snapshot)
    return snapshot


WORDS_KIND: Kind[WordSnapshot] = Kind(
    name="lexical store",
    setting="LEXICAL_STORES",
    subfolder="words",
    read_manifest=read_manifest,
    open_snapshot=open_snapshot,
    set_aside=events.LEXICAL_STORES_SNAPSHOT_SET_ASIDE,
    not_written=events.LEXICAL_STORES_SNAPSHOT_NOT_WRITTEN,
)
