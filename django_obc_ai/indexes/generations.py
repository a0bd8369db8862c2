"""Writing the index tables: one serialised transaction at a time.

Every write bumps ``IndexState.version`` in its first statement. The row lock that this
takes serialises the writers of one index on every database; SQLite, which ignores
``select_for_update``, takes its write lock there, before anything has been read.
"""

from __future__ import annotations

import datetime
import hashlib
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from django.db import connections, transaction
from django.db.models import F
from django.utils import timezone

from django_obc_ai.indexes.base import VectorIndex
from django_obc_ai.indexes.chunking import CHUNKER
from django_obc_ai.indexes.documents import Documents, Piece, hash_of
from django_obc_ai.models import (
    Chunk,
    IndexGeneration,
    IndexState,
    IndexVersion,
    Tombstone,
)
from django_obc_ai.models.connections import persist

logger = logging.getLogger("django_obc_ai.indexes")
ResultT = TypeVar("ResultT")
#: Versions and tombstones that are kept; a replica further behind loads everything anew.
KEPT_VERSIONS = 10_000
#: A build that is not finished by then was given up.
ABANDONED_AFTER = datetime.timedelta(days=1)
#: Fingerprint of generations that nobody writes or switches to any more.
RETIRED = "retired"


def uncommitted_mark() -> None:
    """Stand in a connection's on-commit list while it has uncommitted index writes.

    Django drops the entry on rollback, to a savepoint too, and runs it on commit, so its
    presence is exactly the fact; see `replica.sync`.
    """


def fingerprint_of(index: VectorIndex, identity: str) -> str:
    """Return what pins a generation: embedder, chunker and text template.

    The embedder's identity is shortened for the column and hashed whole.
    """
    whole = hashlib.sha256(f"{identity}|{CHUNKER}|{index.text_identity}".encode()).hexdigest()
    return f"{identity[:100]}|{whole}"


def ensure_state(index: VectorIndex) -> None:
    """Create the row of the index if it is missing."""
    IndexState.objects.using(index.database).get_or_create(name=index.name)


def write(index: VectorIndex, work: Callable[[IndexState], ResultT]) -> ResultT:
    """Run work in the index's one write transaction.

    A database that is busy is tried again from the start, unless the caller's own
    transaction is around it.
    """
    alias = index.database

    def attempt() -> ResultT:
        is_nested = connections[alias].in_atomic_block
        with transaction.atomic(using=alias):
            if is_nested:
                transaction.on_commit(uncommitted_mark, using=alias)
            return work(_next_version(index))

    return persist(alias, attempt)


def _next_version(index: VectorIndex) -> IndexState:
    state = _raised(index, secrets.token_hex(8))
    if state.version % 1_000 == 0:
        _forget_before(state, state.version - KEPT_VERSIONS, index.database)
    return state


def _raised(index: VectorIndex, stamp: str) -> IndexState:
    """Raise the version, log it and return the row, in one statement where the database can.

    Every writer of an index waits for the one before it, so each round trip counts.
    """
    alias = index.database
    states, versions = IndexState.objects.using(alias), IndexVersion.objects.using(alias)
    if connections[alias].vendor != "postgresql":
        states.filter(pk=index.name).update(version=F("version") + 1, stamp=stamp)
        state = states.get(pk=index.name)
        versions.create(index=state, version=state.version, stamp=stamp)
        return state
    rows = states.raw(
        "WITH raised AS ("
        " UPDATE django_obc_ai_indexstate SET version = version + 1, stamp = %s WHERE name = %s"
        " RETURNING *"
        "), logged AS ("
        " INSERT INTO django_obc_ai_indexversion (index_id, version, stamp)"
        " SELECT name, version, stamp FROM raised"
        ") SELECT * FROM raised",
        [stamp, index.name],
    )
    for state in rows:
        return state
    raise IndexState.DoesNotExist(f"The index {index.name!r} has no row.")


def _forget_before(state: IndexState, horizon: int, alias: str) -> None:
    if horizon <= state.horizon:
        return
    IndexState.objects.using(alias).filter(pk=state.pk).update(horizon=horizon)
    IndexVersion.objects.using(alias).filter(index=state, version__lt=horizon).delete()
    Tombstone.objects.using(alias).filter(generation__index=state, version__lte=horizon).delete()
    state.horizon = horizon


def generations_of(index: VectorIndex, fingerprint: str) -> list[IndexGeneration]:
    """Return the generations that the configured embedder can write, oldest first."""
    rows = IndexGeneration.objects.using(index.database)
    return list(rows.filter(index_id=index.name, fingerprint=fingerprint))


def serving_of(index: VectorIndex) -> IndexGeneration | None:
    """Return the generation that searches use, or None if there is none yet."""
    states = IndexState.objects.using(index.database).select_related("serving")
    state = states.filter(pk=index.name).first()
    return None if state is None else state.serving


def create_generation(
    index: VectorIndex,
    *,
    fingerprint: str,
    dimension: int,
    state: bytes,
    count: int,
    identity: str = "",
) -> IndexGeneration:
    """Start a new generation; the serving one goes on serving."""

    def work(index_state: IndexState) -> IndexGeneration:
        return IndexGeneration.objects.using(index.database).create(
            index=index_state,
            fingerprint=fingerprint,
            embedder=hash_of(identity) if identity else "",
            dimension=dimension,
            fitted_state=state,
            fitted_count=count,
        )

    return write(index, work)


def switch_to(index: VectorIndex, generation: IndexGeneration) -> None:
    """Let a finished generation serve and retire all others, at once.

    Nothing happens if a run beside this one has finished first and retired it.
    """
    alias = index.database
    rows = IndexGeneration.objects.using(alias).filter(index_id=index.name)

    def work(state: IndexState) -> None:
        mine = rows.filter(pk=generation.pk, fingerprint=generation.fingerprint)
        if mine.update(is_complete=True):
            IndexState.objects.using(alias).filter(pk=state.pk).update(serving=generation)
            rows.exclude(pk=generation.pk).update(fingerprint=RETIRED)

    write(index, work)


def has_foreign(index: VectorIndex, fingerprint: str) -> bool:
    """Return whether a generation exists that other settings serve or build."""
    rows = IndexGeneration.objects.using(index.database).filter(index_id=index.name)
    return rows.exclude(fingerprint__in=[fingerprint, RETIRED]).exists()


def remove_retired(index: VectorIndex) -> None:
    """Delete retired generations, and builds that nobody has worked on for a day.

    Chunks go in steps that each stay short; an interrupted removal is taken up by the
    next run.
    """
    alias = index.database
    rows = IndexGeneration.objects.using(alias).filter(index_id=index.name)
    abandoned = rows.filter(is_complete=False, updated_at__lt=timezone.now() - ABANDONED_AFTER)
    abandoned = abandoned.exclude(fingerprint=RETIRED)
    if abandoned.exists():
        write(index, lambda _: abandoned.update(fingerprint=RETIRED))
    for generation in rows.filter(fingerprint=RETIRED):
        chunks = Chunk.objects.using(alias).filter(generation=generation)
        while ids := list(chunks.values_list("pk", flat=True)[:1_000]):
            Chunk.objects.using(alias).filter(pk__in=ids).delete()
        rows.filter(pk=generation.pk).delete()


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
    chunks = Chunk.objects.using(alias).filter(generation=generation, object_key__in=list(pieces))
    for pk, key, number, content_hash in chunks.order_by("number").values_list(
        "pk", "object_key", "number", "content_hash"
    ):
        held[key].append((pk, number, content_hash))
    # Of all these objects: texts that two of them exchange are not embedded again.
    reusable = {} if force else {row[2]: row[0] for rows in held.values() for row in rows}
    again: set[str] = set()
    gone: list[int] = []
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
        gone += [row[0] for row in old]
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
    if gone:
        _bury(alias, generation, gone, version)
    Chunk.objects.using(alias).bulk_create(fresh, batch_size=200)
    return again


def _bury(alias: str, generation: IndexGeneration, gone: Sequence[int], version: int) -> None:
    """Delete chunks and leave tombstones; on PostgreSQL in one round trip, see `_raised`."""
    connection = connections[alias]
    if connection.vendor != "postgresql":
        Chunk.objects.using(alias).filter(pk__in=gone).delete()
        Tombstone.objects.using(alias).bulk_create(
            [Tombstone(generation=generation, chunk_id=pk, version=version) for pk in gone]
        )
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH gone AS (DELETE FROM django_obc_ai_chunk"
            " WHERE id = ANY(%s) RETURNING id) INSERT INTO django_obc_ai_tombstone"
            " (generation_id, chunk_id, version) SELECT %s, id, %s FROM gone",
            [list(gone), generation.pk, version],
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


def keep_alive(index: VectorIndex, generation: IndexGeneration) -> None:
    """Note that somebody works on a build, inside a `write`."""
    rows = IndexGeneration.objects.using(index.database).filter(pk=generation.pk)
    rows.filter(is_complete=False).update(updated_at=timezone.now())
