"""What processes hold in memory, as Linux counts it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Megabytes of one process.

    Attributes:
        rss: All pages that it has mapped and that are in memory.
        pss: The same, each page divided by how many processes have it.
        uss: Pages that it alone has.
        map_rss, map_pss: Of it, files of the vector store.
    """

    rss: float
    pss: float
    uss: float
    map_rss: float
    map_pss: float


def children_of(pid: int) -> list[int]:
    """Return the processes that one has started."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += map(int, (task / "children").read_text().split())
    return sorted(found)


def memory_of(pid: int, folder: Path) -> Memory:
    """Read a process's memory; `folder` holds the vector store's files."""
    whole = _fields(Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    mapped: dict[str, float] = {}
    is_ours = False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if "-" in line.split(" ", 1)[0]:  # a mapping begins: addresses, rights, …, path
            is_ours = str(folder) in line
        elif is_ours:
            for name, megabytes in _fields([line]).items():
                mapped[name] = mapped.get(name, 0.0) + megabytes
    return Memory(
        rss=whole["Rss"], pss=whole["Pss"],
        uss=whole["Private_Clean"] + whole["Private_Dirty"],
        map_rss=mapped.get("Rss", 0.0), map_pss=mapped.get("Pss", 0.0),
    )  # fmt: skip


def _fields(lines: list[str]) -> dict[str, float]:
    parts = [line.split() for line in lines]
    return {each[0].rstrip(":"): int(each[1]) / 1e3 for each in parts if each[-1] == "kB"}
