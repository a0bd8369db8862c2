"""Vectors, questions and truth of approximate_search.py, kept in a cache folder between runs."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks._bench import DIMENSION
from tests.benchmarks._places import cache_folder, vectors_by

K = 10
QUESTIONS = 500
_SUBSPACES, _INNER = 64, 32
VERSION = 1  # of what is kept; another one is another folder
#: Points of a cluster lie so far from its centre, in 32 directions, and off them.
_WITHIN, _NOISE = 0.085, 0.012
#: Scores that differ by less are the same neighbour: near-duplicates have no order.
TIE = 1e-6


@dataclass(frozen=True, kw_only=True)
class Part:
    """What is measured in one go.

    Attributes:
        rows: How many vectors; all that there are, of places.
        m, ef_construction, ef_search: Of every HNSW graph but pgvector's; ours searches with
            this efSearch, the libraries with several.
        pgvector_m, pgvector_ef_construction, pgvector_ef_search: Of pgvector, whose own defaults
            are others.
        questions: For recall.
        searches: Questions of one round of the clock.
        rounds: Rounds of the clock.
    """

    name: str
    title: str
    rows: int
    m: int = 32
    ef_construction: int = 128
    ef_search: int = 128
    pgvector_m: int = 16
    pgvector_ef_construction: int = 64
    pgvector_ef_search: int = 100
    questions: int = QUESTIONS
    searches: int = 200
    rounds: int = 5


PARTS = {
    "small": Part(
        name="small", title="4,000 clustered vectors", rows=4_000,
        questions=60, searches=20, rounds=3,
    ),
    "100k": Part(name="100k", title="100,000 clustered vectors", rows=100_000),
    # Smaller graphs: four of the others take longer to build than a proof has. They have to look
    # at more for the recall of 0.95 without which the package does not search approximately.
    "1m": Part(
        name="1m", title="1,000,000 clustered vectors", rows=1_000_000, m=16, ef_construction=64,
        ef_search=256, pgvector_ef_search=400,
    ),
    # Names that are nearly alike: a graph has to look at more to find as much.
    "places": Part(
        name="places", title="The 42,010 barangays", rows=42_010,
        ef_search=512, pgvector_ef_search=400,
    ),
}  # fmt: skip


def low(rows: int, *, seed: int, block: int = 50_000) -> Iterator[np.ndarray]:
    """Yield blocks of unit vectors (n, 384): clusters of about 200 with 32 dimensions inside.

    The clusters are the same for every seed if `rows` is.
    """
    world = np.random.default_rng(7)
    count = max(1, rows // 200)
    centres = world.standard_normal((count, DIMENSION), dtype=np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    spaces = np.linalg.qr(world.standard_normal((_SUBSPACES, DIMENSION, _INNER)))[0]
    spaces = spaces.transpose(0, 2, 1).astype(np.float32)
    rng = np.random.default_rng(seed)
    for start in range(0, rows, block):
        size = min(block, rows - start)
        chosen = rng.integers(0, count, size)
        found = centres[chosen] + _NOISE * rng.standard_normal((size, DIMENSION), dtype=np.float32)
        inner = _WITHIN * rng.standard_normal((size, _INNER), dtype=np.float32)
        for space in range(_SUBSPACES):
            rows_of = np.flatnonzero(chosen % _SUBSPACES == space)
            found[rows_of] += inner[rows_of] @ spaces[space]
        yield found / np.linalg.norm(found, axis=1, keepdims=True)


class Cache:
    """A folder of one part: what took long to make, and how long it took."""

    def __init__(self, part: Part, *, is_fresh: bool = False) -> None:
        values = json.dumps([part.rows, part.m, part.ef_construction, _WITHIN, _NOISE, VERSION])
        digest = hashlib.sha256(values.encode()).hexdigest()[:8]
        self.folder = cache_folder() / f"approximate-{part.name}-{digest}"
        if is_fresh:
            shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)

    def path(self, name: str) -> Path:
        return self.folder / name

    def note(self, name: str, value: Any) -> None:
        """Keep a figure with what is kept here."""
        notes = self.notes() | {name: value}
        scratch = self.path(f"notes.{os.getpid()}")
        scratch.write_text(json.dumps(notes, indent=1))
        scratch.replace(self.path("notes.json"))

    def notes(self) -> dict[str, Any]:
        path = self.path("notes.json")
        return json.loads(path.read_text()) if path.exists() else {}

    def made(self, name: str, make: Callable[[Path], object]) -> Path:
        """Return the path of a file that `make` writes if it is missing; its seconds are noted."""
        path = self.path(name)
        if not path.exists():
            print(f"  building {name}", flush=True)
            scratch = self.path(f"{name}.{os.getpid()}")
            began = time.perf_counter()
            make(scratch)
            self.note(f"{name} seconds", time.perf_counter() - began)
            scratch.replace(path)
        return path


@dataclass(frozen=True)
class Data:
    """What is searched, what is asked, and the least score of a right answer.

    Attributes:
        vectors: (n, 384) float32, mapped.
        questions: (500, 384) float32.
        floors: (500,) score of each question's tenth neighbour, by exact search.
    """

    vectors: np.ndarray
    questions: np.ndarray
    floors: np.ndarray

    def recall(self, found: Sequence[Sequence[int]]) -> float:
        """Mean share of the ten nearest; rows are numbers from 0, one list per question."""
        shares = []
        for rows, question, floor in zip(found, self.questions, self.floors, strict=False):
            distinct = np.unique(np.asarray(rows, dtype=np.int64)[:K])
            scores = self.vectors[distinct].astype(np.float64) @ question.astype(np.float64)
            shares.append((scores >= floor - TIE).sum() / min(K, len(self.vectors)))
        return float(np.mean(shares))


def read_data(part: Part, cache: Cache, onnx: Path | None) -> Data:
    """Return the part's data, made at the first time."""
    if part.name == "places":
        assert onnx is not None
        vectors, questions = vectors_by(onnx, QUESTIONS)
    else:
        path = cache.made("vectors.npy", lambda scratch: _write_low(scratch, part.rows))
        vectors = np.load(path, mmap_mode="r")
        asked = np.random.default_rng(5).choice(part.rows, size=QUESTIONS, replace=False)
        fresh = low(part.rows, seed=2)
        questions = next(iter(fresh))[asked % min(part.rows, 50_000)]
    path = cache.made("floors.npy", lambda scratch: _write_floors(scratch, vectors, questions))
    count = part.questions
    return Data(vectors, np.ascontiguousarray(questions[:count]), np.load(path)[:count])


def _write_low(scratch: Path, rows: int) -> None:
    shape = (rows, DIMENSION)
    with scratch.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for block in low(rows, seed=1):
            file.write(np.ascontiguousarray(block, dtype="<f4"))


def _write_floors(scratch: Path, vectors: np.ndarray, questions: np.ndarray) -> None:
    """The tenth best score of each question, by products in float64 of those that come near."""
    best = np.full((len(questions), K), -np.inf)
    for start in range(0, len(vectors), 50_000):
        block = np.asarray(vectors[start : start + 50_000])
        rough = questions @ block.T
        for number, line in enumerate(rough):
            near = np.argpartition(line, -min(50, len(line)))[-50:]
            exact = block[near].astype(np.float64) @ questions[number].astype(np.float64)
            best[number] = np.sort(np.concatenate([best[number], exact]))[-K:]
    with scratch.open("wb") as file:
        np.save(file, best[:, 0])
