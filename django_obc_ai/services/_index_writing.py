"""Bringing objects up to date in every generation that can be written."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field

from django.db import connections

from django_obc_ai.gateway import tags
from django_obc_ai.indexes import VectorIndex, contents, failures, generations, outbox
from django_obc_ai.indexes.documents import read_documents
from django_obc_ai.indexes.reuse import holds
from django_obc_ai.logs import events
from django_obc_ai.models import IndexGeneration, IndexState
from django_obc_ai.services._embedding_ahead import Ahead, Batch, read_batch
from django_obc_ai.services.embeddings import EmbeddingService

_PASSES = 5


@dataclass(slots=True)
class Tally:
    """What a run has done so far.

    Attributes:
        seen: Objects looked at.
        embedded: Texts that were embedded.
        failed: Keys of objects that could not be indexed.
        target: The generation that the run fills, if it does.
    """

    seen: int = 0
    embedded: int = 0
    failed: dict[str, None] = field(default_factory=dict)
    target: IndexGeneration | None = None


def is_alone(alias: str) -> bool:
    """Return whether only this thread can see, or write, what this database holds.

    That is so in a transaction, and in an SQLite database that is in memory.
    """
    connection = connections[alias]
    return connection.in_atomic_block or bool(
        getattr(connection, "is_in_memory_db", lambda: False)()
    )


class Writing:
    """The part of `IndexingService` that embeds and writes."""

    def _fingerprint(self, index: VectorIndex) -> str:
        return generations.fingerprint_of(index, EmbeddingService(index.embedder).identity)

    def _writable(self, index: VectorIndex) -> list[IndexGeneration]:
        return generations.generations_of(index, self._fingerprint(index))

    def _refresh_all(
        self,
        index: VectorIndex,
        batches: Iterable[Sequence[str]],
        tally: Tally,
        *,
        force: bool,
        workers: int,
    ) -> Generator[None]:
        """Bring many objects up to date, and yield after each batch.

        Texts of the next batches are embedded meanwhile. Whatever ends it, an interruption
        too: what was embedded by then or is under way is stored first, since it is paid for.
        """
        ahead = Ahead(index.embedder, workers)
        try:
            for keys in batches:
                ahead.put(read_batch(index, keys, self._writable(index), force=force))
                for batch in ahead.batches(is_full=True):
                    self._finish(index, batch, ahead, tally, force=force)
                    yield
            for batch in ahead.batches():
                self._finish(index, batch, ahead, tally, force=force)
                yield
        except BaseException:
            ahead.stop()
            for batch in ahead.batches():
                if batch.embedded and not batch.is_stored:
                    self._store(index, batch, tally, force=force)
            raise
        finally:
            ahead.close()

    def _finish(
        self, index: VectorIndex, batch: Batch, ahead: Ahead, tally: Tally, *, force: bool
    ) -> None:
        """Store a batch; what has changed since it was read goes round once more."""
        keys = [*batch.documents.pieces, *batch.documents.broken]
        tally.seen += len(keys)
        left = self._store_or_raise(index, batch, ahead, tally, force=force)
        if left:
            self._go_round(index, left, tally, force=force, passes=_PASSES - 1)

    def _refresh(
        self,
        index: VectorIndex,
        keys: Sequence[str],
        tally: Tally,
        *,
        dirty: Sequence[tuple[int, str]] = (),
        force: bool = False,
    ) -> None:
        """Bring some objects up to date in every writable generation.

        Texts are embedded before the write transaction; inside it the live rows are read
        again, and whatever changed in between goes round once more.
        """
        tally.seen += len(keys)
        self._go_round(index, keys, tally, dirty=dirty, force=force)

    def _go_round(
        self,
        index: VectorIndex,
        keys: Sequence[str],
        tally: Tally,
        *,
        dirty: Sequence[tuple[int, str]] = (),
        force: bool,
        passes: int = _PASSES,
    ) -> None:
        left = list(keys)
        for _ in range(passes):
            ahead = Ahead(index.embedder)
            ahead.put(read_batch(index, left, self._writable(index), force=force))
            for batch in ahead.batches():
                left = self._store_or_raise(index, batch, ahead, tally, dirty=dirty, force=force)
            if not left:
                return
        events.INDEXES_CHANGES_TOO_FAST.log(about=index.name, index=index.name, objects=len(left))
        outbox.add_dirty(index, left)

    def _store_or_raise(
        self,
        index: VectorIndex,
        batch: Batch,
        ahead: Ahead,
        tally: Tally,
        *,
        dirty: Sequence[tuple[int, str]] = (),
        force: bool,
    ) -> list[str]:
        """Store a batch, and then raise what kept it from being whole."""
        if not batch.is_whole and not batch.embedded and ahead.error is not None:
            raise ahead.error
        left = self._store(index, batch, tally, dirty=dirty, force=force)
        if not batch.is_whole and ahead.error is not None:
            raise ahead.error
        return left

    def _store(
        self,
        index: VectorIndex,
        batch: Batch,
        tally: Tally,
        *,
        dirty: Sequence[tuple[int, str]] = (),
        force: bool,
    ) -> list[str]:
        """Write what a batch holds; return the objects that are not up to date then."""
        documents, vectors = batch.documents, batch.vectors()
        known = failures.failed_of(index, [*documents.pieces, *documents.broken])
        has_failures = bool(known or documents.broken)
        is_same = not (dirty or has_failures or any(vectors.values()))
        if is_same and holds(index, batch.targets, documents):
            return []

        def work(state: IndexState) -> list[str]:
            live = read_documents(index, list(documents.pieces), known=documents)
            again: set[str] = set()
            for target in self._writable(index):
                again |= contents.replace_chunks(
                    index,
                    target,
                    state.version,
                    live.pieces,
                    vectors.get(target.pk, {}),
                    force=force and target.pk in vectors,
                )
            if tally.target is not None and not tally.target.is_complete:
                generations.keep_alive(index, tally.target)
            broken = {**documents.broken, **live.broken}
            failures.note(index, broken)
            failures.clear(index, known - broken.keys() - again)
            kept = again | broken.keys()
            if not generations.has_foreign(index, self._fingerprint(index)):
                # Else a process with other settings still needs them for its generation.
                outbox.clear_dirty(index, [pk for pk, key in dirty if key not in kept])
            return sorted(again)

        tally.failed.update(dict.fromkeys(documents.broken))
        left = generations.write(index, work)
        batch.is_stored = True
        tally.embedded += batch.embedded
        # Of rows, too: the process that changed them may have died before it did this.
        rows = [tags.row_tag_of(index.model, key) for key in dict(dirty).values()]
        tags.invalidate([tags.index_tag(index.name), *rows], using=index.database)
        return left
