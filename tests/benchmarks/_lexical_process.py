"""One process of the benchmark of words: it fills or opens a store, searches, and waits.

Usage: python _lexical_process.py ROWS FOLDER NAMES QUESTIONS

FOLDER is that of the store, or "-" for one in memory. NAMES and QUESTIONS are files of one text a
line; text i of the index is name i, or with more rows than names the same one with a number. It
prints what it measured as one line of JSON, and ends when its input does.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from django.conf import settings

from tests.benchmarks._bench import p, timed

BATCH, K = 2_000, 10


def batches(rows: int, names: Path) -> Iterator[tuple[np.ndarray, list[str]]]:
    """Yield all texts as the indexer reads them."""
    texts = names.read_text().splitlines()
    for start in range(0, rows, BATCH):
        ids = np.arange(start, min(rows, start + BATCH))
        yield ids + 1, [f"{texts[i % len(texts)]} {i // len(texts)}" for i in ids.tolist()]


def peak() -> float:
    """Return how many megabytes the process had at most; rusage counts its parent's, too."""
    (line,) = (
        each for each in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in each
    )
    return int(line.split()[1]) / 1e3


def main(rows: int, folder: str, names: Path, questions: Path) -> None:
    """Fill or open, search, tell, wait."""
    settings.configure()
    from django_obc_ai.backends.lexical_stores.bm25 import BM25LexicalStore
    from django_obc_ai.types import ReplicaState

    asked = questions.read_text().splitlines()
    store = BM25LexicalStore(path=None if folder == "-" else folder)
    begun = time.perf_counter()
    if store.state("bench") is None:
        one = uuid.UUID(int=1)
        state = ReplicaState(index_uuid=one, generation=one, version=1, stamp="s")
        store.reset("bench", batches=batches(rows, names), state=state)
    seconds = time.perf_counter() - begun
    first = timed(lambda: store.search("bench", asked[:1], K))
    times = [timed(lambda query=query: store.search("bench", [query], K)) for query in asked]
    hits = store.search("bench", asked, K)
    found = [[(hit.id, hit.score.hex()) for hit in each] for each in hits]
    line = {
        "seconds": seconds,
        "first": first,
        "p50": p(times, 50),
        "p95": p(times, 95),
        "peak": peak(),
        "count": store.count("bench"),
        "hits": hashlib.sha256(json.dumps(found).encode()).hexdigest(),
    }
    print(json.dumps(line), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
