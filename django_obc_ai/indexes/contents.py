"""What a generation of an index holds: reading its chunks, and writing them inside a `write`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from django.db import connections

from django_obc_ai.indexes.base import VectorIndex
from django_obc_ai.indexes.documents import Documents, Piece
from django_obc_ai.models import Chunk, IndexGeneration, Tombstone

#: (object key, number) of chunks, by id.
Places: TypeAlias = dict[int, tuple[str, int]]


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
    held: dict[str, list[tuple[int, int, str]]] = {key: [] for key in pieces}
    for pk, key, number, content_hash in _held(alias, generation, list(pieces)):
        held[key].append((pk, number, content_hash))
    # Of all these objects: texts that two of them exchange are not embedded again.
    reusable = {} if force else {row[2]: row[0] for rows in held.values() for row in rows}
    again: set[str] = set()
    gone: Places = {}
    fresh: list[Chunk] = []
    for key, wanted in pieces.items():
        old = held[key]
        if not force and [row[2] for row in old] == [piece.content_hash for piece in wanted]:
            continue
        if any(p.content_hash not in vectors and p.content_hash not in reusable for p in wanted):
            again.add(key)
            continue
        moved = _vectors_of(
            alias, [reusable[p.content_hash] for p in wanted if p.content_hash not in vectors]
        )
        gone |= {row[0]: (key, row[1]) for row in old}
        fresh += [
            Chunk(
                generation=generation,
                object_key=key,
                number=number,
                text=piece.text,
                content_hash=piece.content_hash,
                vector=vectors.get(piece.content_hash) or moved[piece.content_hash],
                version=version,
            )
            for number, piece in enumerate(wanted)
        ]
    _exchange(alias, generation, gone, fresh, version)
    return again


def remove_objects(
    index: VectorIndex, generation: IndexGeneration, version: int, keys: Sequence[str]
) -> int:
    """Remove all chunks of some objects, inside a `write`; return how many there were."""
    alias = index.database
    gone = {row[0]: (row[1], row[2]) for row in _held(alias, generation, list(keys))}
    _exchange(alias, generation, gone, [], version)
    return len(gone)


def _held(
    alias: str, generation: IndexGeneration, keys: list[str]
) -> Iterable[tuple[int, str, int, str]]:
    """Return id, object key, number and content hash of the chunks of some objects, by number."""
    if connections[alias].vendor != "postgresql":
        rows = Chunk.objects.using(alias).filter(generation=generation, object_key__in=keys)
        return rows.order_by("number").values_list("pk", "object_key", "number", "content_hash")
    with connections[alias].cursor() as cursor:
        # Written out: to put it together would take as long as to run it, while others wait.
        cursor.execute(
            "SELECT id, object_key, number, content_hash FROM django_obc_ai_chunk"
            " WHERE generation_id = %s AND object_key = ANY(%s) ORDER BY number",
            [generation.pk, keys],
        )
        return list(cursor.fetchall())


def _exchange(
    alias: str, generation: IndexGeneration, gone: Places, fresh: Sequence[Chunk], version: int
) -> None:
    """Remove chunks, with a tombstone for each, and write others."""
    if connections[alias].vendor == "postgresql":
        places = {(each.object_key, each.number): each for each in fresh}
        renewed = {pk: places[place] for pk, place in gone.items() if place in places}
        _renew(alias, generation, renewed, version)
        gone = {pk: place for pk, place in gone.items() if pk not in renewed}
        written = {id(each) for each in renewed.values()}
        fresh = [each for each in fresh if id(each) not in written]
    if gone:
        Chunk.objects.using(alias).filter(pk__in=list(gone)).delete()
        Tombstone.objects.using(alias).bulk_create(
            [Tombstone(generation=generation, chunk_id=pk, version=version) for pk in gone]
        )
    if fresh:
        Chunk.objects.using(alias).bulk_create(fresh, batch_size=200)


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
            " text = new.text, content_hash = new.content_hash, vector = new.vector, version = %s"
            " FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::bytea[])"
            " AS new (old_id, text, content_hash, vector)"
            " WHERE held.id = new.old_id RETURNING new.old_id)"
            " INSERT INTO django_obc_ai_tombstone (generation_id, chunk_id, version)"
            " SELECT %s, old_id, %s FROM renewed",
            [
                version,
                list(renewed),
                [each.text for each in chunks],
                [each.content_hash for each in chunks],
                [bytes(each.vector) for each in chunks],
                generation.pk,
                version,
            ],
        )


def _vectors_of(alias: str, ids: Sequence[int]) -> dict[str, bytes]:
    if not ids:
        return {}
    rows = Chunk.objects.using(alias).filter(pk__in=ids)
    return {h: bytes(v) for h, v in rows.values_list("content_hash", "vector")}


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
