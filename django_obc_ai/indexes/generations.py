"""Writing the index tables: one serialised transaction at a time.

Every write bumps ``IndexState.version`` in its first statement. The row lock that this
takes serialises the writers of one index on every database; SQLite, which ignores
``select_for_update``, takes its write lock there, before anything has been read.
"""

from __future__ import annotations

import datetime
import hashlib
import secrets
from collections.abc import Callable
from typing import TypeVar

from django.db import connections, transaction
from django.db.models import F
from django.utils import timezone

from django_obc_ai.indexes import held
from django_obc_ai.indexes.base import VectorIndex
from django_obc_ai.indexes.chunking import CHUNKER
from django_obc_ai.indexes.documents import hash_of
from django_obc_ai.models import (
    Chunk,
    IndexGeneration,
    IndexState,
    IndexVersion,
    Tombstone,
)
from django_obc_ai.models.connections import persist

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
            state = _next_version(index)
            found = work(state)
            held.bring_up(index, state)
            return found

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
    with connections[alias].cursor() as cursor:
        cursor.execute(
            "WITH raised AS ("
            " UPDATE django_obc_ai_indexstate SET version = version + 1, stamp = %s"
            " WHERE name = %s RETURNING *"
            "), logged AS ("
            " INSERT INTO django_obc_ai_indexversion (index_id, version, stamp)"
            " SELECT name, version, stamp FROM raised"
            ") SELECT name, uuid, version, stamp, horizon, serving_id, EXISTS ("
            " SELECT FROM django_obc_ai_indexgeneration"
            " WHERE index_id = name AND held_version IS NOT NULL) FROM raised",
            [stamp, index.name],
        )
        row = cursor.fetchone()
    if row is None:
        raise IndexState.DoesNotExist(f"The index {index.name!r} has no row.")
    names = ("name", "uuid", "version", "stamp", "horizon", "serving_id")
    state = IndexState.from_db(alias, names, row[:6])
    state.is_held = row[6]
    return state


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
        made = IndexGeneration.objects.using(index.database).create(
            index=index_state,
            fingerprint=fingerprint,
            embedder=hash_of(identity) if identity else "",
            dimension=dimension,
            fitted_state=state,
            fitted_count=count,
        )
        held.begin(index, made, index_state)
        return made

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
            IndexState.objects.using(alias).filter(pk=state.pk).update(
                serving=generation, recall=None, recall_of=""
            )
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
        if not held.let_go(index, generation):
            continue  # it is being searched: the next run removes it
        chunks = Chunk.objects.using(alias).filter(generation=generation)
        while ids := list(chunks.values_list("pk", flat=True)[:1_000]):
            Chunk.objects.using(alias).filter(pk__in=ids).delete()
        rows.filter(pk=generation.pk).delete()


def keep_alive(index: VectorIndex, generation: IndexGeneration) -> None:
    """Note that somebody works on a build, inside a `write`."""
    rows = IndexGeneration.objects.using(index.database).filter(pk=generation.pk)
    rows.filter(is_complete=False).update(updated_at=timezone.now())
