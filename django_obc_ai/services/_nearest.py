"""Searching the store of an index for chunks, before anybody asks whose they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from django.db import models
from numpy.typing import NDArray

from django_obc_ai.indexes import VectorIndex
from django_obc_ai.indexes.replica import Replica
from django_obc_ai.models import Chunk
from django_obc_ai.types import SearchHit

OVERFETCH = 4
MINIMUM_FETCH = 50
#: Fetched at most before the visible rows' ids are read: where most rows can be seen, so
#: many hits hold enough of them, and nobody reads the ids of a whole table.
MAXIMUM_FETCH = 400
#: Where a smaller share of hits can be seen, searching among the visible rows costs less than
#: searching further.
FEW_VISIBLE = 0.05
PAGE = 500  # below SQLite's limit on query parameters


class MovedOnError(Exception):
    """What was searched is gone: the store moved on beside this search."""


def search_store(
    index: VectorIndex,
    replica: Replica,
    vectors: NDArray[np.float32],
    wanted: int,
    visible: models.QuerySet[Any],
    allowed: NDArray[np.int64] | None,
    *,
    is_exact: bool,
) -> list[list[SearchHit]]:
    """Return the nearest chunks to each vector, from wherever the index keeps its own."""
    store = replica.store
    if store.is_in_database:
        return store.search_rows(index.name, vectors, wanted, visible, is_exact=is_exact)
    return store.search(index.name, vectors, wanted, allowed, is_exact=is_exact)


def best_of(found: Sequence[Sequence[SearchHit]], wanted: int) -> list[SearchHit]:
    """Return the best hits of several queries, each chunk once."""
    if len(found) == 1:
        return list(found[0])
    best: dict[int, SearchHit] = {}
    for hit in (hit for hits in found for hit in hits):
        if hit.id not in best or best[hit.id].score < hit.score:
            best[hit.id] = hit
    return sorted(best.values(), key=lambda hit: (-hit.score, hit.id))[:wanted]


def allowed_chunks(
    index: VectorIndex, generation: Any, visible: models.QuerySet[Any]
) -> NDArray[np.int64]:
    """Return the ids of the chunks that a generation (its key) has of visible rows."""
    chunks = Chunk.objects.using(index.database).filter(generation_id=generation)
    ids: list[int] = []
    pks = visible.prefetch_related(None).order_by().values_list("pk", flat=True)
    keys = [index.key_of_pk(pk) for pk in pks.iterator()]
    for start in range(0, len(keys), PAGE):
        ids += chunks.filter(object_key__in=keys[start : start + PAGE]).values_list("pk", flat=True)
    return np.array(ids, dtype=np.int64)
