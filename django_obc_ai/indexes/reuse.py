"""What generations of an index hold already."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from django_obc_ai.indexes.base import VectorIndex
from django_obc_ai.indexes.documents import Documents
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


def holds(index: VectorIndex, targets: Sequence[IndexGeneration], documents: Documents) -> bool:
    """Return whether every target holds these documents already."""
    for target in targets:
        held: dict[str, list[tuple[str, int, int]]] = {key: [] for key in documents.pieces}
        rows = Chunk.objects.using(index.database).filter(
            generation=target, object_key__in=list(documents.pieces)
        )
        columns = ("object_key", "content_hash", "start", "end")
        for key, *place in rows.order_by("number").values_list(*columns):
            held[key].append(tuple(place))
        for key, pieces in documents.pieces.items():
            if held[key] != [(each.content_hash, each.start, each.end) for each in pieces]:
                return False
    return True
