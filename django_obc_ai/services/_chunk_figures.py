"""What a generation holds, counted where that is cheap and estimated where it is not."""

from __future__ import annotations

import json
from dataclasses import dataclass

from django.db import connections, models

from django_obc_ai.indexes import VectorIndex
from django_obc_ai.models import Chunk, IndexGeneration

#: So many entries of a database index are counted at most where there is an estimate.
_MOST_COUNTED = 100_000
_SAMPLES = 8
_SAMPLE_SIZE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkFigures:
    """See `GenerationStats`."""

    chunks: int
    objects: int
    text_bytes: int
    estimated: tuple[str, ...]


def figures_of(index: VectorIndex, generation: IndexGeneration) -> ChunkFigures:
    """Return how many chunks and objects a generation holds, and how long the texts are.

    PostgreSQL counts 100,000 chunks at most and estimates what is more, by its statistics.
    Objects of so many chunks, and texts of more than 512, are estimated from a sample that is
    spread over the index's writes.
    """
    rows = Chunk.objects.using(index.database).filter(generation=generation).order_by()
    sample = _sample_of(rows)
    if len(sample) < _SAMPLES * _SAMPLE_SIZE:
        return ChunkFigures(
            chunks=len(sample),
            objects=sum(number == 0 for number, _ in sample.values()),
            text_bytes=sum(size for _, size in sample.values()),
            estimated=(),
        )
    chunks = rows.values("pk")[: _MOST_COUNTED + 1].count()
    estimated = ["text_bytes"]
    if is_large := chunks > _MOST_COUNTED:
        chunks = _many(index, rows, generation)
        if connections[index.database].vendor == "postgresql":
            estimated += ["chunks", "vector_bytes"]
    if is_large:
        estimated.append("objects")
        share = sum(number == 0 for number, _ in sample.values()) / len(sample)
        objects = round(chunks * share)
    else:
        objects = rows.filter(number=0).count()
    mean = sum(size for _, size in sample.values()) / len(sample)
    return ChunkFigures(
        chunks=chunks,
        objects=objects,
        text_bytes=round(chunks * mean),
        estimated=tuple(sorted(estimated)),
    )


def _sample_of(rows: models.QuerySet[Chunk]) -> dict[int, tuple[int, int]]:
    """Return number and size of some chunks by id; of all, if they are fewer than the sample.

    They are found by version, which has an index: the first ones from evenly spread versions.
    """
    most = _SAMPLES * _SAMPLE_SIZE
    found = _read(rows.order_by("version")[:most])
    if len(found) < most:
        return found
    first, last = (
        rows.order_by(order).values_list("version", flat=True)[0]
        for order in ("version", "-version")
    )
    found = {}
    for step in range(_SAMPLES):
        version = first + (last - first) * step // _SAMPLES
        found |= _read(rows.filter(version__gte=version).order_by("version")[:_SAMPLE_SIZE])
    # Versions may lie so that the same chunks came back; the first ones fill the sample up.
    missing = most - len(found)
    return found | (_read(rows.order_by("version")[:most]) if missing else {})


def _read(rows: models.QuerySet[Chunk]) -> dict[int, tuple[int, int]]:
    columns = rows.values_list("pk", "number", "text")
    return {pk: (number, len(text.encode())) for pk, number, text in columns}


def _many(index: VectorIndex, rows: models.QuerySet[Chunk], generation: IndexGeneration) -> int:
    """Return how many chunks there are, of which there are more than are counted.

    SQLite counts the entries of an index in milliseconds. PostgreSQL may have to look at each
    row, vectors included, so it is asked what it believes.
    """
    connection = connections[index.database]
    if connection.vendor != "postgresql":
        return rows.count()
    with connection.cursor() as cursor:
        cursor.execute(
            "EXPLAIN (FORMAT JSON) SELECT id FROM django_obc_ai_chunk WHERE generation_id = %s",
            [generation.pk],
        )
        answer = cursor.fetchone()[0]
    plan = json.loads(answer) if isinstance(answer, str) else answer
    return max(_MOST_COUNTED + 1, int(plan[0]["Plan"]["Plan Rows"]))
