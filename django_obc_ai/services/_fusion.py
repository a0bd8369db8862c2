"""Fusing rankings into one, by rank alone.

Reciprocal rank fusion (Cormack, Clarke and Buettcher, SIGIR 2009): an item's score is the sum of
weight / (60 + rank) over the rankings that hold it. Scores of words and of vectors do not
compare; ranks do.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TypeVar

#: The paper's constant: it lets what two rankings agree on win over one ranking's first.
RANK_CONSTANT = 60
#: How many of each ranking are fused. Fixed, so that page two continues page one.
DEPTH = 100
MODES = ("vector", "lexical", "hybrid")

ItemT = TypeVar("ItemT", bound=Hashable)


def rank_score(rank: int, weight: float = 1.0) -> float:
    """Return what a rank, from 0, is worth."""
    return weight / (RANK_CONSTANT + 1 + rank)


def fuse(
    rankings: Sequence[Sequence[ItemT]], weights: Sequence[float], *, depth: int = DEPTH
) -> list[ItemT]:
    """Return the items of several rankings, best first, each once.

    Args:
        rankings: Best first; an item is at most once in each.
        weights: One for each ranking, at least 0.
        depth: So many of each ranking are fused. Those behind follow in the order of the
            first ranking, then of the second, and so on. A ranking that was read further
            therefore adds to the end alone, once each has so many.

    Returns:
        Equal scores go by the first ranking's order, then by the second's.
    """
    scores: dict[ItemT, float] = {}
    for ranking, weight in zip(rankings, weights, strict=True):
        for rank, item in enumerate(ranking[:depth]):
            scores[item] = scores.get(item, 0.0) + rank_score(rank, weight)
    # A dict keeps the order of insertion, and sorting keeps that of equals.
    fused = sorted(scores, key=lambda item: -scores[item])
    behind = dict.fromkeys(item for ranking in rankings for item in ranking[depth:])
    return [*fused, *(item for item in behind if item not in scores)]
