"""What happens to the files of a vector store in the soak: lost, damaged, foreign and older."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path


class Files:
    """Damages the snapshots below a folder, as a disk, a backup or a person would.

    A file is damaged in a copy that takes its place, as restored files do: one that is shortened
    while it is mapped ends every process that has it mapped, which the documentation says.
    """

    def __init__(self, vectors: Path, scratch: Path) -> None:
        self.vectors, self.scratch = vectors, scratch

    def damage(self, kind: str, pick: int) -> bool:
        """Return whether there was anything to damage in this way."""
        snapshots = sorted(self.vectors.glob("*/*/snapshot-*"))
        try:
            return bool(snapshots) and DAMAGES[kind](self, snapshots, pick)
        except OSError:  # the store replaced it just then
            return False

    def lose_file(self, snapshots: list[Path], pick: int) -> bool:
        _file_of(snapshots, pick).unlink()
        return True

    def lose_snapshot(self, snapshots: list[Path], pick: int) -> bool:
        shutil.rmtree(snapshots[-1])
        return True

    def lose_everything(self, snapshots: list[Path], pick: int) -> bool:
        shutil.rmtree(self.vectors, ignore_errors=True)
        return True

    def truncate(self, snapshots: list[Path], pick: int) -> bool:
        file = _file_of(snapshots, pick)
        content = file.read_bytes()
        return _replace(file, content[: pick % max(1, len(content))])

    def flip_bit(self, snapshots: list[Path], pick: int) -> bool:
        file = _file_of(snapshots, pick)
        content = bytearray(file.read_bytes())
        if content:
            content[pick * 7919 % len(content)] ^= 1 << pick % 8
        return _replace(file, bytes(content))

    def flip_bit_in_place(self, snapshots: list[Path], pick: int) -> bool:
        """Change a file under the eyes of the processes that have it mapped."""
        file = _file_of(snapshots, pick)
        size = file.stat().st_size
        if not size:
            return False
        with file.open("r+b") as stream:
            stream.seek(pick * 7919 % size)
            byte = stream.read(1)[0]
            stream.seek(-1, 1)
            stream.write(bytes([byte ^ 1 << pick % 8]))
        return True

    def write_garbage(self, snapshots: list[Path], pick: int) -> bool:
        return _replace(_file_of(snapshots, pick), b"\0garbage" * (pick % 64))

    def bring_foreign(self, snapshots: list[Path], pick: int) -> bool:
        """Put in a sound snapshot of another database, as the newest there is."""
        return self.forge(snapshots[-1], uuid.uuid4(), pick)

    def bring_other_history(self, snapshots: list[Path], pick: int) -> bool:
        """Put in a sound snapshot with this index's names and a stamp that it never had."""
        manifest = json.loads((snapshots[-1] / "manifest.json").read_bytes().split(b"\n")[0])
        return self.forge(snapshots[-1], uuid.UUID(manifest["index_uuid"]), pick)

    def forge(self, newest: Path, index_uuid: uuid.UUID, pick: int) -> bool:
        import numpy as np

        from django_obc_ai.backends.vector_stores._snapshots import SnapshotWriter
        from django_obc_ai.types import ReplicaState

        manifest = json.loads((newest / "manifest.json").read_bytes().split(b"\n")[0])
        forged = self.scratch / uuid.uuid4().hex
        writer = SnapshotWriter(forged, manifest["dimension"])
        ids = np.arange(1, 200, dtype=np.int64)
        vectors = np.zeros((len(ids), manifest["dimension"]), dtype=np.float32)
        vectors[:, pick % manifest["dimension"]] = 1
        writer.add(ids, vectors)
        version = manifest["version"] + pick % 3
        generation = uuid.UUID(manifest["generation"])
        state = ReplicaState(
            index_uuid=index_uuid, generation=generation, version=version, stamp="forged"
        )
        writer.finish("places", state)
        forged.rename(newest.with_name(f"snapshot-{version:020d}-{uuid.uuid4().hex[:12]}"))
        return True

    def keep(self, snapshots: list[Path], pick: int) -> bool:
        """Keep a copy, which `bring_older` puts back some day."""
        shutil.copytree(snapshots[-1], self.scratch / f"kept-{uuid.uuid4().hex}")
        return True

    def bring_older(self, snapshots: list[Path], pick: int) -> bool:
        """Put back what was kept, in place of everything or under the newest name of all."""
        kept = sorted(self.scratch.glob("kept-*"))
        if not kept:
            return self.keep(snapshots, pick)
        newest = snapshots[-1]
        version = int(newest.name.split("-")[1])
        if pick % 2:
            for each in snapshots:
                shutil.rmtree(each)
        else:
            version += 10
        target = newest.with_name(f"snapshot-{version:020d}-{uuid.uuid4().hex[:12]}")
        shutil.copytree(kept[pick % len(kept)], target)
        return True


def _file_of(snapshots: list[Path], pick: int) -> Path:
    files = [each for folder in snapshots for each in sorted(folder.iterdir())]
    return files[pick % len(files)]


def _replace(file: Path, content: bytes) -> bool:
    other = file.with_name(f"{file.name}.soak")
    other.write_bytes(content)
    other.replace(file)
    return True


DAMAGES: dict[str, Callable[..., bool]] = {
    name: each
    for name, each in vars(Files).items()
    if not name.startswith("_") and name not in ("damage", "forge")
}
