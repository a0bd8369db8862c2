"""The truth of every search index: its chunks, its generations and its outbox.

These tables live in the database of the indexed model, so that a save, its outbox row
and the indexer's writes are part of the same transactions as the data.
"""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.db import models
from django.utils import timezone


class IndexState(models.Model):
    """One row per index. Its UPDATE is the first statement of every index write.

    That serialises the writers of an index on every database, so that a reader never
    misses a version committed late. ``version`` rises by one a write; ``stamp`` is a
    random mark by which a replica notices a rolled-back or restored history. ``woken_at`` is
    when a worker was last sent for, None since one has come. ``recall`` is the recall@10 in
    [0, 1] that was measured for the serving generation and allows approximate search; None
    searches exactly. ``recall_of`` says what was measured: the vector store's settings of its
    approximate index. With others it is searched exactly, too.
    """

    name = models.CharField(max_length=100, primary_key=True)
    uuid = models.UUIDField(default=uuid.uuid4, editable=False)
    version = models.BigIntegerField(default=0)
    stamp = models.CharField(max_length=32, blank=True, default="")
    horizon = models.BigIntegerField(default=0)
    serving = models.ForeignKey(
        "IndexGeneration", on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    woken_at = models.DateTimeField(null=True, blank=True, default=None)
    recall = models.FloatField(null=True, blank=True, default=None)
    recall_of = models.CharField(max_length=200, blank=True, default="")
    #: Whether a vector store in this database holds a generation, as the last write found it.
    is_held: bool = False

    class Meta:
        verbose_name = "search index"
        verbose_name_plural = "search indexes"
        permissions = (("rebuild_index", "Can rebuild search indexes"),)

    def __str__(self) -> str:
        """Return the name."""
        return self.name


class IndexVersion(models.Model):
    """The log of (version, stamp) pairs, kept to the state's horizon."""

    index = models.ForeignKey(IndexState, on_delete=models.CASCADE, related_name="versions")
    version = models.BigIntegerField()
    stamp = models.CharField(max_length=32)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["index", "version"], name="obc_ai_version_unique"),
        ]

    def __str__(self) -> str:
        """Return index and version."""
        return f"{self.index_id} v{self.version}"


class IndexGeneration(models.Model):
    """One build of an index with one embedder and one fitted state.

    A rebuild fills a new generation while the old one serves; the switch is one update.

    Attributes:
        fingerprint: Identity of embedder, chunker and text template.
        embedder: SHA-256 of the embedder's identity; equal texts have equal vectors under
            the same embedder and fitted state. "" if it is not known.
        fitted_state: What the embedder learned from the corpus, as bytes.
        fitted_count: Number of objects it learned from.
        is_complete: Whether the build has seen every object once.
        updated_at: When somebody last worked on the build.
        held_version: Up to which version a vector store in this database holds it; None for
            stores elsewhere.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    index = models.ForeignKey(IndexState, on_delete=models.CASCADE, related_name="generations")
    fingerprint = models.CharField(max_length=200)
    embedder = models.CharField(max_length=64, blank=True, default="")
    dimension = models.PositiveIntegerField()
    fitted_state = models.BinaryField(default=b"")
    fitted_count = models.BigIntegerField(default=0)
    is_complete = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(default=timezone.now)
    held_version = models.BigIntegerField(null=True, blank=True, default=None)

    class Meta:
        ordering: ClassVar[list[str]] = ["created_at"]

    def __str__(self) -> str:
        """Return index and id."""
        return f"{self.index_id} {self.id}"


class Chunk(models.Model):
    """One embedded piece of one object's text. Never edited: a change makes a new row.

    Attributes:
        object_key: The object's primary key as text, of any type.
        number: Position of the piece in its object, from 0.
        start: Where the piece begins in the object's text, in characters.
        end: Where it ends, exclusive.
        content_hash: SHA-256 of the text; equal text is not embedded again.
        vector: (d,) little-endian float32, L2-normalised, as bytes.
        version: The index version that wrote it.
    """

    generation = models.ForeignKey(IndexGeneration, on_delete=models.CASCADE, related_name="chunks")
    object_key = models.CharField(max_length=255)
    number = models.PositiveIntegerField()
    start = models.PositiveIntegerField(default=0)
    end = models.PositiveIntegerField(default=0)
    text = models.TextField()
    content_hash = models.CharField(max_length=64)
    vector = models.BinaryField()
    version = models.BigIntegerField()

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["generation", "version"], name="obc_ai_chunk_version"),
        ]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["generation", "object_key", "number"], name="obc_ai_chunk_unique"
            ),
        ]

    def __str__(self) -> str:
        """Return object and position."""
        return f"{self.object_key}#{self.number}"


class Tombstone(models.Model):
    """A chunk that was removed, so that replicas remove it too."""

    generation = models.ForeignKey(
        IndexGeneration, on_delete=models.CASCADE, related_name="tombstones"
    )
    chunk_id = models.BigIntegerField()
    version = models.BigIntegerField()

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["generation", "version"], name="obc_ai_tombstone_version"),
        ]

    def __str__(self) -> str:
        """Return the chunk's id."""
        return str(self.chunk_id)


class IndexFailure(models.Model):
    """An object that could not be indexed, until it can.

    Attributes:
        object_key: The object's primary key as text.
        error: Name of the exception's class; its message may hold the object's text.
        attempts: How often it has failed in a row.
    """

    index_name = models.CharField(max_length=100)
    object_key = models.CharField(max_length=255)
    error = models.CharField(max_length=200)
    attempts = models.PositiveIntegerField(default=1)
    first_at = models.DateTimeField(default=timezone.now)
    last_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["index_name", "object_key"], name="obc_ai_failure_unique"
            ),
        ]

    def __str__(self) -> str:
        """Return index and object."""
        return f"{self.index_name}:{self.object_key}"


class DirtyRow(models.Model):
    """The outbox: an object that changed and that the indexer has yet to look at.

    Written in the transaction of the change itself, deleted in the transaction that
    brings the index up to date. The rising ``id`` is the order of the changes.
    """

    index_name = models.CharField(max_length=100)
    object_key = models.CharField(max_length=255)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["index_name", "id"], name="obc_ai_dirty_order"),
        ]

    def __str__(self) -> str:
        """Return index and object."""
        return f"{self.index_name}:{self.object_key}"
