"""What is common to snapshots of every kind, and what a kind has to say."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar
from uuid import UUID

from django_obc_ai.backends.snapshots.files import (
    MANIFEST,
    BadSnapshotError,
    MappedFiles,
    read_note,
    read_signed,
    sync_folder,
    write_manifest,
    write_note,
)
from django_obc_ai.exceptions import IndexNotReadyError
from django_obc_ai.logs.event import Event
from django_obc_ai.types import ReplicaState

#: Up to here the sums are compared at every opening: about 50 ms.
ALWAYS_VERIFIED_BYTES = 64 << 20
#: Larger files that have not been touched are compared again after so many seconds.
VERIFY_AFTER_SECONDS = 7 * 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class MappedSnapshot:
    """An opened snapshot; each kind adds its arrays, read-only views of mapped files.

    Attributes:
        folder: Where it is.
        state: The moment that it is.
        sums: SHA-256 sums by file name, as the manifest has them.
        files: What is mapped.
    """

    folder: Path
    state: ReplicaState
    sums: dict[str, str]
    files: MappedFiles


SnapshotT = TypeVar("SnapshotT", bound=MappedSnapshot)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind(Generic[SnapshotT]):
    """What snapshots of one kind have of their own.

    Attributes:
        name: Of the stores that keep them, for people.
        setting: Of the same stores, in ``OBC_AI``.
        subfolder: Where they are in the folder of an index; "" for that folder itself.
        read_manifest: Returns the manifest in a folder (Any: JSON), as `read_moment` does;
            raises OtherSnapshotError for what is sound and of no use to this process.
        open_snapshot: Maps the files beside a manifest, as `map_files` does.
        set_aside: Logged for what cannot be used.
        not_written: Logged when the next snapshot cannot be written.
    """

    name: str
    setting: str
    subfolder: str
    read_manifest: Callable[[Path], dict[str, Any]]
    open_snapshot: Callable[[Path, dict[str, Any]], SnapshotT]
    set_aside: Event
    not_written: Event

    def not_writable(self, index: str, error: OSError) -> IndexNotReadyError:
        """Return the error for files that cannot be written."""
        return IndexNotReadyError(
            f"The {self.name} cannot write the index {index!r}: {error.strerror}. Free space, or"
            f" let Django's user write to OBC_AI['{self.setting}'][…]['OPTIONS']['path']."
        )


def write_moment(folder: Path, index: str, state: ReplicaState, **entries: Any) -> None:
    """Write the manifest that makes files a snapshot; everything is on the disk afterwards.

    Args:
        folder: Where the files are.
        index: Name of the index.
        state: The moment that they are.
        entries: What the kind adds (Any: JSON): "format", and "files" with the sum of each.
    """
    moment = {
        "index": index,
        "index_uuid": str(state.index_uuid),
        "generation": str(state.generation),
        "version": state.version,
        "stamp": state.stamp,
    }
    write_manifest(folder, {**moment, **entries})
    mark_verified(folder, entries["files"])
    sync_folder(folder)


def read_moment(
    folder: Path,
    version: int,
    *,
    names: Sequence[str],
    fields: Mapping[str, type],
) -> dict[str, Any]:
    """Return a manifest whose own sum is right. Any: JSON.

    Args:
        folder: Of the snapshot.
        version: The format that it must have.
        names: Files whose sums it must hold.
        fields: What the kind has written, by name: texts, or numbers that are at least 0.

    Raises:
        BadSnapshotError: It is damaged, or of another version of this package.
        FileNotFoundError: There is none.
    """
    manifest = read_signed(folder, version)
    try:
        state_of(manifest)
        values: dict[str, Any] = {name: manifest[name] for name in ("version", *fields)}
        values |= {name: manifest["files"][name]["sha256"] for name in names}
    except (KeyError, TypeError, ValueError, AttributeError):
        raise BadSnapshotError("the manifest lacks something") from None
    wanted: dict[str, type] = {"version": int, **fields, **dict.fromkeys(names, str)}
    is_right = all(type(values[name]) is each for name, each in wanted.items()) and all(
        values[name] >= 0 for name, each in wanted.items() if each is not str
    )
    if not is_right:
        raise BadSnapshotError("the manifest holds a value of the wrong type")
    return manifest


def state_of(manifest: dict[str, Any]) -> ReplicaState:
    """Return the moment that a manifest names. Any: JSON."""
    return ReplicaState(
        index_uuid=UUID(manifest["index_uuid"]),
        generation=UUID(manifest["generation"]),
        version=manifest["version"],
        stamp=manifest["stamp"],
    )


def sums_of(manifest: dict[str, Any], names: Iterable[str]) -> dict[str, str]:
    """Return the sums of some files by name. Any: JSON."""
    return {name: manifest["files"][name]["sha256"] for name in names}


def map_files(folder: Path, sizes: Mapping[str, int]) -> MappedFiles:
    """Map files that have the sizes they must have, in bytes by name.

    Raises:
        BadSnapshotError: A file is missing or has another size.
        FileNotFoundError: The folder is gone: a newer snapshot has replaced it.
    """
    for name, size in sizes.items():
        try:
            held = (folder / name).stat().st_size
        except FileNotFoundError:
            if (folder / MANIFEST).exists():
                raise BadSnapshotError(f"{name} is missing") from None
            raise
        if held != size:
            raise BadSnapshotError(f"{name} has {held} bytes, not {size}")
    return MappedFiles(*(folder / name for name in sizes))


def verify_if_due(snapshot: MappedSnapshot) -> None:
    """Compare the sums of all files where that is due.

    Due are small snapshots, files whose size or times differ from the last comparison, and
    those that were last compared a week ago.

    Raises:
        BadSnapshotError: A file has other content than it was written with.
    """
    is_small = snapshot.files.size <= ALWAYS_VERIFIED_BYTES
    if is_small or not was_verified(snapshot.folder, snapshot.sums):
        verify(snapshot)
        mark_verified(snapshot.folder, snapshot.sums)


def verify(snapshot: MappedSnapshot) -> None:
    """Compare the sums of all files: about a second for each gigabyte.

    Raises:
        BadSnapshotError: A file has other content than it was written with.
    """
    for name, found in snapshot.files.sums():
        if found != snapshot.sums[name]:
            raise BadSnapshotError(f"{name} has changed since it was written")


def mark_verified(folder: Path, names: Iterable[str]) -> None:
    """Note sizes and times of the files; without the note they are compared again."""
    write_note(folder, {"files": _stamps(folder, names), "at": time.time()})


def was_verified(folder: Path, names: Iterable[str]) -> bool:
    """Return whether the sums were compared not long ago and nobody touched the files since."""
    try:
        note = read_note(folder)
        age = time.time() - note["at"]
        return bool(note["files"] == _stamps(folder, names) and 0 <= age < VERIFY_AFTER_SECONDS)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _stamps(folder: Path, names: Iterable[str]) -> dict[str, list[int]]:
    found = {name: (folder / name).stat() for name in names}
    return {name: [s.st_size, s.st_mtime_ns, s.st_ctime_ns] for name, s in found.items()}
