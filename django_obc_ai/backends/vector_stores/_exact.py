"""Exact ranking: every store that uses it returns the same chunks in the same order.

A matrix product in float32 rounds in an order that depends on the processor, the library and
the place of a row, so that equal vectors may get unequal scores. Here the product only finds
candidates; a margin that bounds its rounding error decides how many. Their scores are summed in
float64, in an order that depends on the two vectors alone, and rounded to float32 at the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from django_obc_ai.types import SearchHit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    #: Ids (n,) int64 and exact scores (n,) float32 of some chunks, in any order.
    Scored = tuple[NDArray[np.int64], NDArray[np.float32]]

#: Half a unit in the last place of float32, relative: what one rounding may cost.
UNIT = 2.0**-24
_SCORES_PER_BLOCK = 2_000_000
_ONE_THREADS_VALUES = 2_500_000
_ROWS_PER_BLOCK = 4_096


def exact_scores(vectors: NDArray[np.float32], query: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the inner products of (n, d) vectors and one query (d,), rounded once."""
    wide = query.astype(np.float64)
    if len(vectors) <= _ROWS_PER_BLOCK:
        few = vectors.astype(np.float64)
        few *= wide
        found: NDArray[np.float32] = np.add.reduce(few, axis=1).astype(np.float32)
        return found
    scores = np.empty(len(vectors), dtype=np.float32)
    for start in range(0, len(vectors), _ROWS_PER_BLOCK):
        block = vectors[start : start + _ROWS_PER_BLOCK].astype(np.float64)
        block *= wide
        scores[start : start + len(block)] = block.sum(axis=1)
    return scores


def norms(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the lengths of (n, d) vectors."""
    wide = vectors.astype(np.float64)
    lengths: NDArray[np.float64] = np.sqrt(np.einsum("ij,ij->i", wide, wide))
    return lengths


def largest_norm(vectors: NDArray[np.float32]) -> float:
    """Return the length of the longest of (n, d) vectors, 0 if there are none."""
    return float(norms(vectors).max(initial=0.0))


def rounding_margin(dimension: int, largest: float, query: NDArray[np.float32]) -> float:
    """Return how far a float32 inner product may be from `exact_scores`.

    The classical bound for a sum of d products in any order, with or without fused
    multiply-add: d u / (1 - d u) times the sum of the absolute products, which the lengths
    bound (Cauchy-Schwarz). Four more units cover the rounding of both scores and of the
    comparison itself.
    """
    worst = dimension * UNIT
    return (worst / (1 - worst) + 4 * UNIT) * largest * float(norms(query[None, :])[0])


def nearest(
    vectors: NDArray[np.float32],
    ids: NDArray[np.int64],
    queries: NDArray[np.float32],
    k: int,
    *,
    largest: float,
    eligible: NDArray[np.bool_] | None = None,
) -> list[Scored]:
    """Return at least the k nearest rows to each query, exactly scored.

    Args:
        vectors: (n, d) float32.
        ids: (n,) int64.
        queries: (m, d) float32.
        k: At least 1.
        largest: Length of the longest vector, or more.
        eligible: (n,) bool, the rows that count; None means all.
    """
    margins = np.array([rounding_margin(vectors.shape[1], largest, query) for query in queries])
    numbers, rows, scores = _candidates(vectors, queries, k, margins=margins, eligible=eligible)
    found = []
    for number, query in enumerate(queries):
        mine = numbers == number if len(queries) > 1 else slice(None)
        kept = rows[mine][within(scores[mine], k, 2 * margins[number])]
        found.append((ids[kept], exact_scores(vectors[kept], query)))
    return found


def within(scores: NDArray[np.float32], k: int, distance: float) -> NDArray[np.bool_]:
    """Return which scores are at most a distance below the k-th best of them."""
    if k >= len(scores):
        return np.ones(len(scores), dtype=bool)
    kth = np.partition(scores, len(scores) - k)[len(scores) - k]
    near: NDArray[np.bool_] = scores >= _below(float(kth) - distance)
    return near


def _below(floor: float | NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the float32 below, so that a comparison in float32 loses nothing."""
    return np.nextafter(np.asarray(floor, dtype=np.float32), np.float32(-np.inf))


def _candidates(
    vectors: NDArray[np.float32],
    queries: NDArray[np.float32],
    k: int,
    *,
    margins: NDArray[np.float64],
    eligible: NDArray[np.bool_] | None,
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Return query numbers, rows and float32 scores of whatever may be among the k best."""
    floors = np.full(len(queries), -np.inf)
    size = max(_ROWS_PER_BLOCK, _SCORES_PER_BLOCK // max(1, len(queries)))
    parts = []
    for start in range(0, max(1, len(vectors)), size):
        scores = _products(queries, vectors[start : start + size])
        if eligible is not None:
            scores[:, ~eligible[start : start + size]] = -np.inf
        width = scores.shape[1]
        if k < width:
            kth = np.partition(scores, width - k, axis=1)[:, width - k]
            floors = np.maximum(floors, kth - 2 * margins)
        numbers, rows = np.nonzero(scores >= _below(floors)[:, None])
        found = scores[numbers, rows]
        counts = found > -np.inf
        parts.append((numbers[counts], rows[counts] + start, found[counts]))
    numbers, rows, found = (np.concatenate(each) for each in zip(*parts, strict=True))
    return numbers, rows, found


def _products(queries: NDArray[np.float32], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return inner products, (m, n) float32.

    One query and few rows are left to one thread: a BLAS with several lets them wait for each
    other in a busy loop, which on a busy machine takes many times as long as the work.
    """
    if len(queries) == 1 and vectors.size <= _ONE_THREADS_VALUES:
        found: NDArray[np.float32] = np.einsum("d,nd->n", queries[0], vectors)[None]
        return found
    return queries @ vectors.T


def best(scored: Scored, k: int) -> list[SearchHit]:
    """Return the k best as hits, best first, ties by rising id."""
    ids, scores = scored
    order = np.lexsort((ids, -scores))[:k]
    return [
        SearchHit(id=number, score=score if -1.0 <= score <= 1.0 else _clipped(score))
        for number, score in zip(ids[order].tolist(), scores[order].tolist(), strict=True)
    ]


def _clipped(score: float) -> float:
    """Return a score within [-1, 1]; one that is no number stays so."""
    return 1.0 if score > 1.0 else max(score, -1.0)
