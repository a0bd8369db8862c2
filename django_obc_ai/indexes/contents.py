"""What a generation of an index holds: reading its chunks, and writing them inside a `write`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from django.db import connections
from django.db.models import F

from django_obc_ai.indexes.base import VectorIndex
from django_obc_ai.indexes.documents import Documents, Piece
from django_obc_ai.models import Chunk, IndexGeneration, Tombstone

#: (object key, number) of chunks, by id.
Places: TypeAlias = dict[int, tuple[str, int]]
_PAGE = 500  # below SQLite's limit on query parameters
_PARKED = 1_000_000_000  # no object has so many chunks


class Held(NamedTuple):
    """What is compared of a chunk that is held."""

    id: int
    object_key: str
    number: int
    start: int
    end: int
    content_hash: str


@dataclass(slots=True)
class Change:
    """What one write does to chunks: remove, write, and (number, start, end, id) to set."""

    gone: Places = field(default_factory=dict)
    fresh: list[Chunk] = field(default_factory=list)
    moved: list[tuple[int, int, int, int]] = field(default_factory=list)
    renumbered: list[int] = field(default_factory=list)  # the ids of those with another number


def missing_hashes(
    index: VectorIndex, generation: IndexGeneration, documents: Documents, *, force: bool
) -> dict[str, str]:
    """Return the texts by hash that a generation has no vector for, under these keys."""
    wanted = {
        piece.content_hash: piece.text for pieces in documents.pieces.values() for piece in pieces
    }
    if force:
        return wanted
    held = Chunk.objects.using(index.database).filter(
        generation=generation, object_key__in=list(documents.pieces)
    )
    for content_hash in held.values_list("content_hash", flat=True):
        wanted.pop(content_hash, None)
    return wanted


def replace_chunks(
    index: VectorIndex,
    generation: IndexGeneration,
    version: int,
    pieces: Mapping[str, Sequence[Piece]],
    vectors: Mapping[str, bytes],
    *,
    force: bool = False,
) -> set[str]:
    """Bring the chunks of some keys up to date, inside a `write`.

    Args:
        index: The index.
        generation: The generation to change.
        version: The version of this write.
        pieces: By key, the chunks as they should be.
        vectors: By content hash, the vectors that were embedded for this write.
        force: Replace chunks whose text has not changed, too.

    Returns:
        Keys that were left alone because a vector is missing; embed and try again.
    """
    alias = index.database
    held: dict[str, list[Held]] = {key: [] for key in pieces}
    for row in _held(alias, generation, list(pieces)):
        held[row.object_key].append(row)
    # Of all these objects: texts that two of them exchange are not embedded again.
    reusable = {} if force else {row.content_hash: row.id for rows in held.values() for row in rows}
    again: set[str] = set()
    change = Change()
    for key, wanted in pieces.items():
        old = held[key]
        if not force and [row[2:] for row in old] == [
            (number, each.start, each.end, each.content_hash) for number, each in enumerate(wanted)
        ]:
            continue
        if any(p.content_hash not in vectors and p.content_hash not in reusable for p in wanted):
            again.add(key)
            continue
        kept = {} if force else _kept(old, wanted)
        left = {n: piece for n, piece in enumerate(wanted) if n not in kept}
        moved = _vectors_of(
            alias,
            [reusable[p.content_hash] for p in left.values() if p.content_hash not in vectors],
        )
        staying = {row.id for row in kept.values()}
        change.gone |= {row.id: (key, row.number) for row in old if row.id not in staying}
        change.moved += [
            (number, wanted[number].start, wanted[number].end, row.id)
            for number, row in kept.items()
            if row[2:5] != (number, wanted[number].start, wanted[number].end)
        ]
        change.renumbered += [row.id for number, row in kept.items() if row.number != number]
        change.fresh += [
            Chunk(
                generation=generation,
                object_key=key,
                number=number,
                start=piece.start,
                end=piece.end,
                text=piece.text,
                content_hash=piece.content_hash,
                vector=vectors.get(piece.content_hash) or moved[piece.content_hash],
                version=version,
            )
            for number, piece in left.items()
        ]
    _exchange(alias, generation, change, version)
    return again


def _kept(old: Sequence[Held], wanted: Sequence[Piece]) -> dict[int, Held]:
    """Return, by new number, the rows whose text is wanted still, in order where there are more."""
    by_hash: dict[str, list[Held]] = {}
    for row in reversed(old):
        by_hash.setdefault(row.content_hash, []).append(row)
    return {
        number: rows.pop()
        for number, piece in enumerate(wanted)
        if (rows := by_hash.get(piece.content_hash))
    }


def remove_objects(
    index: VectorIndex, generation: IndexGeneration, version: int, keys: Sequence[str]
) -> int:
    """Remove all chunks of some objects, inside a `write`; return how many there were."""
    alias = index.database
    rows = _held(alias, generation, list(keys))
    gone = {row.id: (row.object_key, row.number) for row in rows}
    _exchange(alias, generation, Change(gone=gone), version)
    return len(gone)


def _held(alias: str, generation: IndexGeneration, keys: list[str]) -> Iterable[Held]:
    """Return the chunks of some objects without their texts and vectors, by number."""
    if connections[alias].vendor != "postgresql":
        rows = Chunk.objects.using(alias).filter(generation=generation, object_key__in=keys)
        columns = ("pk", "object_key", "number", "start", "end", "content_hash")
        return [Held(*row) for row in rows.order_by("number").values_list(*columns)]
    with connections[alias].cursor() as cursor:
        # Written out: to put it together would take as long as to run it, while others wait.
        cursor.execute(
            'SELECT id, object_key, number, start, "end", content_hash FROM django_obc_ai_chunk'
            " WHERE generation_id = %s AND object_key = ANY(%s) ORDER BY number",
            [generation.pk, keys],
        )
        return [Held(*row) for row in cursor.fetchall()]


def _exchange(alias: str, generation: IndexGeneration, change: Change, version: int) -> None:
    """Remove chunks, with a tombstone for each, write others, and number those that stay."""
    gone, fresh = change.gone, change.fresh
    _park(alias, change.renumbered)
    if connections[alias].vendor == "postgresql":
        places = {(each.object_key, each.number): each for each in fresh}
        renewed = {pk: places[place] for pk, place in gone.items() if place in places}
        _renew(alias, generation, renewed, version)
        gone = {pk: place for pk, place in gone.items() if pk not in renewed}
        written = {id(each) for each in renewed.values()}
        fresh = [each for each in fresh if id(each) not in written]
    ids = list(gone)
    for start in range(0, len(ids), _PAGE):
        part = ids[start : start + _PAGE]
        Chunk.objects.using(alias).filter(pk__in=part).delete()
        Tombstone.objects.using(alias).bulk_create(
            [Tombstone(generation=generation, chunk_id=pk, version=version) for pk in part]
        )
    if change.moved:
        with connections[alias].cursor() as cursor:
            cursor.executemany(
                'UPDATE django_obc_ai_chunk SET number = %s, start = %s, "end" = %s WHERE id = %s',
                change.moved,
            )
    if fresh:
        Chunk.objects.using(alias).bulk_create(fresh, batch_size=200)


def _park(alias: str, ids: Sequence[int]) -> None:
    """Take rows out of the way of each other: no two of an object may have one number.

    Their ids, texts, vectors and versions stay, so replicas have nothing to do.
    """
    for start in range(0, len(ids), _PAGE):
        part = Chunk.objects.using(alias).filter(pk__in=ids[start : start + _PAGE])
        part.update(number=F("number") + _PARKED)


def _renew(
    alias: str, generation: IndexGeneration, renewed: Mapping[int, Chunk], version: int
) -> None:
    """Let rows be other chunks, under new ids, and bury the old ids: one round trip.

    Every writer of an index waits for the one before it. For readers it is the same as a row
    deleted and another one written.
    """
    if not renewed:
        return
    chunks = list(renewed.values())
    with connections[alias].cursor() as cursor:
        cursor.execute(
            "WITH renewed AS (UPDATE django_obc_ai_chunk AS held"
            " SET id = nextval(pg_get_serial_sequence('django_obc_ai_chunk', 'id')),"
            ' start = new.start, "end" = new.stop,'
            " text = new.text, content_hash = new.content_hash, vector = new.vector, version = %s"
            " FROM unnest(%s::bigint[], %s::int[], %s::int[], %s::text[], %s::text[], %s::bytea[])"
            " AS new (old_id, start, stop, text, content_hash, vector)"
            " WHERE held.id = new.old_id RETURNING new.old_id)"
            " INSERT INTO django_obc_ai_tombstone (generation_id, chunk_id, version)"
            " SELECT %s, old_id, %s FROM renewed",
            [
                version,
                list(renewed),
                [each.start for each in chunks],
                [each.end for each in chunks],
                [each.text for each in chunks],
                [each.content_hash for each in chunks],
                [bytes(each.vector) for each in chunks],
                generation.pk,
                version,
            ],
        )


def _vectors_of(alias: str, ids: Sequence[int]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for start in range(0, len(ids), _PAGE):
        rows = Chunk.objects.using(alias).filter(pk__in=ids[start : start + _PAGE])
        found |= {h: bytes(v) for h, v in rows.values_list("content_hash", "vector")}
    return found


def stored_keys(
    index: VectorIndex, generation: IndexGeneration, after: str, size: int
) -> list[str]:
    """Return the next object keys that a generation holds, in order of the key."""
    rows = Chunk.objects.using(index.database).filter(generation=generation, object_key__gt=after)
    keys = rows.order_by("object_key").values_list("object_key", flat=True).distinct()
    return list(keys[:size])


def held_keys(index: VectorIndex, generation: IndexGeneration, keys: Sequence[str]) -> list[str]:
    """Return which of these object keys a generation holds."""
    rows = Chunk.objects.using(index.database).filter(
        generation=generation, object_key__in=list(keys)
    )
    return list(rows.order_by().values_list("object_key", flat=True).distinct())
