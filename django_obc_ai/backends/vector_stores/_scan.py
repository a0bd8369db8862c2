"""The kernel: FAISS reads float16 halves, float32 vectors decide.

A search is bound by memory bandwidth, so reading two bytes a component instead of four halves
its time. What the halves cannot decide is bounded: an inner product with a half differs from the
exact one by at most the length of the query times the longest difference between a vector and
its half (Cauchy-Schwarz), plus rounding. The scan returns more rows than wanted; their exact
scores show whether any row that was left out could still belong. If so, more are asked for, and
in the end all rows are compared in float32.

FAISS sees raw memory only: it reads no file, holds no index, and nothing is added to or removed
from what is mapped.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from django_obc_ai.backends.vector_stores._exact import (
    UNIT,
    exact_scores,
    nearest,
    norms,
    rounding_margin,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from django_obc_ai.backends.vector_stores._exact import Scored
    from django_obc_ai.backends.vector_stores._snapshots import Snapshot

_EXTRA = 32
_GROWTH = 8
#: From so many wanted rows on, a heap costs more than comparing all of them.
_HEAP_SHARE = 16
#: Below, handing a part to another thread costs more than it saves.
_BYTES_PER_THREAD = 4 << 20
#: From so many queries on, one matrix product in float32 is faster than a scan for each.
_QUERIES_PER_PRODUCT = 5


class Scanner:
    """Searches snapshots with a few threads. Safe to use from many threads and after a fork."""

    def __init__(self, faiss: Any, threads: int) -> None:
        """Take the imported package (Any: it has no types) and the threads of one search."""
        self._faiss = faiss
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self._pid = 0
        self._kernels: dict[tuple[int, bool], list[tuple[Any, ...]]] = {}
        self._lock = threading.Lock()

    def nearest(
        self,
        snapshot: Snapshot,
        queries: NDArray[np.float32],
        k: int,
        *,
        eligible: NDArray[np.uint8] | None,
        count: int,
    ) -> list[Scored]:
        """Return at least the k nearest eligible rows to each query, exactly scored.

        Args:
            snapshot: Where to search.
            queries: (m, d) float32.
            k: At least 1.
            eligible: Bits of the rows that count, lowest bit first; None means all.
            count: How many rows count.
        """
        if len(queries) < _QUERIES_PER_PRODUCT:
            return [
                self._nearest_to(snapshot, query, k, eligible=eligible, count=count)
                for query in queries
            ]
        return _all_compared(snapshot, queries, k, eligible=eligible)

    def _nearest_to(
        self,
        snapshot: Snapshot,
        query: NDArray[np.float32],
        k: int,
        *,
        eligible: NDArray[np.uint8] | None,
        count: int,
    ) -> Scored:
        length = float(norms(query[None, :])[0])
        margin = rounding_margin(len(query), snapshot.largest + snapshot.residual, query)
        margin += snapshot.residual * length * (1 + 4 * UNIT)
        wanted = k + _EXTRA
        while wanted * _HEAP_SHARE < count:
            rows, scores = self._scan(snapshot.halves, query, wanted, eligible)
            if len(rows) < wanted:  # not all have a score that can be compared, such as NaN
                break
            exact = exact_scores(snapshot.vectors[rows], query)
            kth = np.partition(exact, len(exact) - k)[len(exact) - k]
            if float(scores.min()) + margin < float(kth):
                return snapshot.ids[rows], exact
            wanted *= _GROWTH
        return _all_compared(snapshot, query[None, :], k, eligible=eligible)[0]

    def _scan(
        self,
        halves: NDArray[np.uint8],
        query: NDArray[np.float32],
        wanted: int,
        eligible: NDArray[np.uint8] | None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the rows with the best approximate scores, at most as many as wanted."""
        count = len(halves)
        parts = max(1, min(self._threads, halves.nbytes // _BYTES_PER_THREAD))
        size = -(-count // parts + 7) // 8 * 8 if parts > 1 else count  # whole bytes of bits
        bounds = [(start, min(count, start + size)) for start in range(0, count, size)]
        query = np.ascontiguousarray(query, dtype=np.float32)

        def part(number: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
            start, end = bounds[number]
            bits = None if eligible is None else eligible[start // 8 :]
            rows, scores = self._scan_part(halves[start:end], query, wanted, bits)
            return rows + start, scores

        futures = []
        later: list[int] = []
        for number in range(1, len(bounds)):
            try:
                futures.append(self._executor().submit(part, number))
            except RuntimeError:  # the pool was closed beside this search
                later.append(number)
        found = [part(0), *(part(number) for number in later), *(f.result() for f in futures)]
        rows = np.concatenate([each[0] for each in found])
        scores = np.concatenate([each[1] for each in found])
        if len(rows) > wanted:
            order = np.argpartition(scores, len(scores) - wanted)[len(scores) - wanted :]
            rows, scores = rows[order], scores[order]
        return rows, scores

    def _scan_part(
        self,
        halves: NDArray[np.uint8],
        query: NDArray[np.float32],
        wanted: int,
        eligible: NDArray[np.uint8] | None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        pointer = self._faiss.swig_ptr
        key = (len(query), eligible is not None)
        kernels = self._kernels.setdefault(key, [])
        try:
            kernel = kernels.pop()
        except IndexError:
            kernel = self._new_kernel(*key)
        scanner = kernel[0]
        if eligible is not None:
            selector = self._faiss.IDSelectorBitmap(len(halves), pointer(eligible))
            scanner.sel = selector
        scanner.set_query(pointer(query))
        scanner.set_list(0, 0.0)  # rows are counted from 0, and nothing is added to scores
        scores = np.full(wanted, np.finfo(np.float32).min, dtype=np.float32)
        rows = np.full(wanted, -1, dtype=np.int64)
        scanner.scan_codes(
            len(halves), pointer(halves), None, pointer(scores), pointer(rows), wanted
        )
        kernels.append(kernel)
        found = rows >= 0
        return rows[found], scores[found]

    def _new_kernel(self, dimension: int, has_selector: bool) -> tuple[Any, ...]:
        """Return FAISS's scanner, and what it refers to. Any: FAISS has no types.

        Its wrapper never frees a scanner, so they are used again: as many are made as
        searches ever ran at once.
        """
        faiss = self._faiss
        quantizer = faiss.ScalarQuantizer(dimension, faiss.ScalarQuantizer.QT_fp16)
        # That there is a selector is compiled in; which one is set for each scan.
        bits = np.zeros(1, dtype=np.uint8)
        selector = faiss.IDSelectorBitmap(0, faiss.swig_ptr(bits)) if has_selector else None
        scanner = quantizer.select_InvertedListScanner(
            faiss.METRIC_INNER_PRODUCT, None, True, selector, False
        )
        return scanner, quantizer, selector, bits

    def _executor(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._pool is None or self._pid != os.getpid():  # threads do not survive a fork
                self._pool = ThreadPoolExecutor(self._threads - 1, "django_obc_ai-scan")
                self._pid = os.getpid()
            return self._pool

    def after_fork(self) -> None:
        """Forget, in a forked child, what other threads of the parent may have held."""
        self._lock = threading.Lock()
        self._pool = None

    def close(self) -> None:
        """End the threads."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False)


def _all_compared(
    snapshot: Snapshot,
    queries: NDArray[np.float32],
    k: int,
    *,
    eligible: NDArray[np.uint8] | None,
) -> list[Scored]:
    mask = None
    if eligible is not None:
        mask = np.unpackbits(eligible, count=len(snapshot.ids), bitorder="little").view(np.bool_)
    return nearest(
        snapshot.vectors,
        snapshot.ids,
        queries,
        k,
        largest=snapshot.largest,
        eligible=mask,
    )
