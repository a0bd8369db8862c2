"""Approximate search: FAISS names candidates, their float32 vectors decide.

What the approximate index does not know is compared exactly: rows in memory, and rows of a later
snapshot. Scores are those of an exact search, ties go by id, and wherever the candidates are too
few the search is repeated exactly, so that k come back while k are held and allowed.

A filter is not handed to FAISS. A graph walks through rows that do not count to those that do, and
takes what it meets on its way for an answer; here it returns the nearest of all rows, and those of
them that count are the nearest that count. For a share s of rows that count, the search looks 1/s
times as far. Where comparing exactly is cheaper than that, it does so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from django_obc_ai.backends.vector_stores._exact import exact_scores, nearest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from django_obc_ai.backends.vector_stores._approximate import Approximate
    from django_obc_ai.backends.vector_stores._content import Content
    from django_obc_ai.backends.vector_stores._exact import Scored
    from django_obc_ai.backends.vector_stores._neighbours import Pairing
    from django_obc_ai.backends.vector_stores._scan import Scanner

#: Asked for beyond k, since ties and rounding may change the order at the end.
_EXTRA = 2
#: Codes of eight bits order less well: so many times k are asked for.
_CODED = 5
#: A filter may be denser far from a query than near it.
_RESERVE = 1.5
#: A bitmap costs an exact search one in so many rows, besides the rows that count.
_ROWS_PER_BITMAP = 4


def nearest_approximately(
    content: Content,
    pairing: Pairing,
    approximate: Approximate,
    scanner: Scanner,
    queries: NDArray[np.float32],
    k: int,
    allowed_ids: Sequence[int] | NDArray[np.int64] | None,
) -> list[Scored]:
    """Return at least k rows near to each query, exactly scored.

    Args:
        content: What to search.
        pairing: The approximate index of its snapshot.
        approximate: How to search that.
        scanner: For what is compared exactly.
        queries: (m, d) float32.
        k: At least 1.
        allowed_ids: Only these chunks count, if given.
    """
    base, total = content.base, len(content.base.ids)
    count, mask = total - content.dead, None
    if allowed_ids is not None:
        rows = content.base_rows(np.asarray(allowed_ids, dtype=np.int64))
        count = len(rows)
        mask = np.zeros(total, dtype=bool)
        mask[rows] = True
    elif content.dead:
        mask = content.is_base_alive()
    wanted, effort = _reach(pairing, approximate, k, count / total if mask is not None else 1.0)
    cost = pairing.neighbours.cost(effort)
    if count < k or cost > count + (total // _ROWS_PER_BITMAP if mask is not None else 0):
        return content.nearest(scanner, queries, k, allowed_ids)
    kept = k + _EXTRA if approximate.kind == "hnsw" else _CODED * (k + _EXTRA)
    queries = np.ascontiguousarray(queries, dtype=np.float32)
    found: list[Scored] = []
    for query in queries:
        near = pairing.neighbours.nearest(query, wanted, effort)
        if pairing.rows is not None:
            near = pairing.rows[near]
            near = near[near >= 0]
        if mask is not None:
            near = near[mask[near]]
        if len(near) < k:
            found += content.nearest(scanner, query[None, :], k, allowed_ids)
            continue
        near = near[:kept]
        scored = base.ids[near], exact_scores(base.vectors[near], query)
        rest = _unknown(content, pairing, scanner, query[None, :], k, mask, allowed_ids)
        found.append(_joined([scored, *rest]) if rest else scored)
    return found


def _reach(pairing: Pairing, approximate: Approximate, k: int, share: float) -> tuple[int, int]:
    """Return how many rows to ask for, and with what effort."""
    # Of what it returns, those that were removed since do not count either.
    share *= pairing.known / len(pairing.neighbours.ids)
    is_graph = approximate.kind == "hnsw"
    wanted = k + _EXTRA if is_graph else _CODED * (k + _EXTRA)
    effort = approximate.ef_search if is_graph else approximate.probes
    if share < 1:
        total = len(pairing.neighbours.ids)
        widened = max(share, 1 / total)
        wanted = min(total, int(wanted * _RESERVE / widened) + 1)
        # In steps, so that few sets of parameters are made.
        effort = _rounded(min(total, effort / widened))
    return wanted, (max(effort, wanted) if is_graph else effort)


def _rounded(effort: float) -> int:
    """Return the next of 8 steps between powers of two."""
    step = 1 << max(0, int(effort).bit_length() - 4)
    return -(-int(effort + 1) // step) * step


def _unknown(
    content: Content,
    pairing: Pairing,
    scanner: Scanner,
    query: NDArray[np.float32],
    k: int,
    mask: NDArray[np.bool_] | None,
    allowed_ids: Sequence[int] | NDArray[np.int64] | None,
) -> list[Scored]:
    """Return the nearest of what the approximate index does not know, exactly scored."""
    base, found = content.base, []
    if content.delta.used:
        found += content.nearest_in_delta(query, k, allowed_ids)
    later, start = pairing.later, pairing.later_start
    if later is not None:
        part = None if mask is None else mask[start:]
        found += scanner.nearest(
            later,
            query,
            k,
            eligible=None if part is None else np.packbits(part, bitorder="little"),
            count=len(later.ids) if part is None else int(part.sum()),
        )
    others = pairing.others if mask is None else pairing.others[mask[pairing.others]]
    if len(others):
        vectors, ids = base.vectors[others], base.ids[others]
        found += nearest(vectors, ids, query, k, largest=base.largest)
    return found


def _joined(parts: list[Scored]) -> Scored:
    return (
        np.concatenate([each[0] for each in parts]),
        np.concatenate([each[1] for each in parts]),
    )
