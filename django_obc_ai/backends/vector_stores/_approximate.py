"""The option ``approximate`` of the FAISS store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django_obc_ai.conf import suggest

#: What each kind may be told, besides "kind" and "above"; and the ranges of all numbers.
_NAMES = {
    "hnsw": ("m", "ef_construction", "ef_search"),
    "ivf_sq8": ("lists", "probes"),
}
_RANGES = {
    "above": (1, 2**40),
    "m": (4, 128),
    "ef_construction": (8, 4_096),
    "ef_search": (8, 16_384),
    "lists": (1, 1 << 20),
    "probes": (1, 1 << 20),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Approximate:
    """How an approximate index is built and searched.

    The defaults reach a recall@10 of 0.95 for typed queries among 42,010 barangays, of whose names
    hundreds are alike; usual ones (128, 64; 8 probes) reach 0.55 to 0.79 there.

    Attributes:
        kind: "hnsw", a graph of neighbours over the float32 vectors, or "ivf_sq8", lists of
            vectors in eight bits.
        above: From so many chunks on; fewer are searched exactly.
        m: Half of the links of a chunk in the graph.
        ef_construction: Candidates that are looked at to find a chunk's links.
        ef_search: Candidates that a search looks at.
        lists: Number of lists; None is four times the root of the number of chunks.
        probes: Lists that a search reads.
    """

    kind: str = "hnsw"
    above: int = 200_000
    m: int = 32
    ef_construction: int = 512
    ef_search: int = 256
    lists: int | None = None
    probes: int = 256

    @property
    def built_with(self) -> dict[str, Any]:
        """Return what a built index depends on. Any: JSON."""
        if self.kind == "hnsw":
            return {"kind": self.kind, "m": self.m, "ef_construction": self.ef_construction}
        return {"kind": self.kind, "lists": self.lists}

    @property
    def text(self) -> str:
        """Return kind and numbers, for people and for comparisons."""
        named = ((name, getattr(self, name)) for name in _NAMES[self.kind])
        return " ".join([self.kind, *(f"{name}={value}" for name, value in named if value)])


def approximate_of(option: Mapping[str, Any] | None) -> Approximate | None:
    """Return the option as a value; None if it asks for none.

    Raises:
        ValueError: A name is unknown, or a value has the wrong type or is out of range. The
            message names the option.
    """
    if option is None:
        return None
    if not isinstance(option, Mapping):
        raise ValueError("approximate must be a mapping such as {'kind': 'hnsw'}, or None")  # noqa: TRY004
    kind = option.get("kind", "hnsw")
    if not isinstance(kind, str) or kind not in _NAMES:
        raise ValueError(f"approximate['kind'] must be one of {', '.join(sorted(_NAMES))}")
    names = ("kind", "above", *_NAMES[kind])
    for name, value in option.items():
        if name not in names:
            if name in _RANGES:
                raise ValueError(f"approximate has {name!r}, which kind {kind} does not have")
            raise ValueError(
                f"approximate has the unknown name {name!r}. {suggest(str(name), names)}"
            )
        if name == "kind" or (name == "lists" and value is None):
            continue
        least, most = _RANGES[name]
        if type(value) is not int or not least <= value <= most:
            raise ValueError(
                f"approximate[{name!r}] must be a whole number from {least:,} to {most:,}"
            )
    return Approximate(**option)
