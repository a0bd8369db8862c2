"""Vectors that another generation of an index holds already."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from django_obc_ai.indexes.base import VectorIndex
from django_obc_ai.models import Chunk, IndexGeneration


def held_elsewhere(
    index: VectorIndex,
    generation: IndexGeneration,
    *,
    keys: Sequence[str],
    hashes: Collection[str],
) -> dict[str, bytes]:
    """Return vectors by content hash that other generations hold for the same objects.

    Only those of the same embedder, dimension and fitted state count: there the same text
    has the same vector, whatever the text template or chunker around it was.
    """
    if not hashes or not generation.embedder:
        return {}
    alias = index.database
    others = IndexGeneration.objects.using(alias).filter(
        index_id=index.name, embedder=generation.embedder, dimension=generation.dimension
    )
    state = bytes(generation.fitted_state)
    donors = [
        each.pk for each in others.exclude(pk=generation.pk) if bytes(each.fitted_state) == state
    ]
    if not donors:
        return {}
    rows = Chunk.objects.using(alias).filter(generation__in=donors, object_key__in=list(keys))
    size = 4 * generation.dimension
    found: dict[str, bytes] = {}
    for content_hash, vector in rows.values_list("content_hash", "vector").iterator():
        if content_hash in hashes and len(vector) == size:
            found[content_hash] = bytes(vector)
    return found
