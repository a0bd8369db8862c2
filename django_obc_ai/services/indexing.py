"""Keeping indexes equal to their rows: full runs, and the outbox of changes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from django_obc_ai.exceptions import ObcAIError
from django_obc_ai.gateway import tags
from django_obc_ai.indexes import VectorIndex, contents, generations, get_index, outbox
from django_obc_ai.indexes.documents import (
    Documents,
    iterate_keys,
    iterate_texts,
    read_documents,
)
from django_obc_ai.indexes.reuse import held_elsewhere, holds
from django_obc_ai.logs import events
from django_obc_ai.models import IndexGeneration, IndexState
from django_obc_ai.services._index_reports import IndexReport, Progress
from django_obc_ai.services._verification import Verifying
from django_obc_ai.services.embeddings import EmbeddingService

BATCH_SIZE = 200
_PASSES = 5

#: By index, outbox rows that this process could not clear: texts that cannot be computed,
#: and what a generation of other settings waits for. `IndexingService.index` tries them.
_left_over: dict[str, dict[int, str]] = {}


def left_over_of(name: str) -> Collection[int]:
    """Return the outbox rows that this process has tried and could not clear."""
    return _left_over.get(name, {}).keys()


@dataclass(slots=True)
class _Tally:
    seen: int = 0
    embedded: int = 0
    failed: dict[str, None] = field(default_factory=dict)
    target: IndexGeneration | None = None
    failure: ObcAIError | None = None


class IndexingService(Verifying):
    """Build and update the indexes of this project."""

    def index(
        self,
        name: str,
        *,
        limit: int | None = None,
        rebuild: bool = False,
        force: bool = False,
        batch_size: int = BATCH_SIZE,
        progress: Progress | None = None,
    ) -> IndexReport:
        """Bring one index up to date with its rows, embedding only what changed.

        Safe to interrupt at any point and to run again, which continues; safe to run
        beside saves, searches and other runs. A missing index, another embedder or, for
        a fitted embedder, a corpus of another order of size builds a new generation
        beside the serving one and switches at the end.

        Args:
            name: Name of the index.
            limit: Look at so many rows only; a new generation then does not serve yet.
            rebuild: Build a new generation even if nothing asks for one.
            force: Embed texts again that have not changed.
            batch_size: Rows a step, at least 1, at most 500.
            progress: Called after each batch.

        Raises:
            UnknownIndexError: No such index.
            ValueError: limit or batch_size is out of range.
        """
        if not 1 <= batch_size <= 500:  # below SQLite's limit on query parameters
            raise ValueError(f"batch_size is {batch_size}; give 1 to 500.")
        if limit is not None and limit < 1:
            raise ValueError(f"limit is {limit}; give at least 1, or None for all rows.")
        index = get_index(name)
        generations.ensure_state(index)
        generation, reason = self._target(index, rebuild=rebuild, batch_size=batch_size)
        tally = _Tally(target=generation)
        total = index.get_queryset().using(index.database).count()
        total = total if limit is None else min(total, limit)
        for keys in iterate_keys(index, batch_size, limit):
            self._refresh(index, keys, tally, force=force)
            if progress is not None:
                progress(tally.seen, total)
        if limit is not None:
            serving = generations.serving_of(index)
            is_serving = serving is not None and serving.pk == generation.pk
            return self._report(index, tally, 0, is_serving=is_serving, reason=reason)
        seen = tally.seen
        removed = self._prune(index, generation, batch_size, tally)
        serving = generations.serving_of(index)
        if serving is None or serving.pk != generation.pk:
            generations.switch_to(index, generation)
            tags.invalidate([tags.index_tag(name)], using=index.database)
        generations.remove_retired(index)
        self._drain(index, tally)
        tally.seen = seen  # rows of the index, each once, whatever the outbox held besides
        is_serving = self.is_current(name)
        return self._report(index, tally, removed, is_serving=is_serving, reason=reason)

    def process_changes(self, name: str) -> IndexReport:
        """Work off the outbox of one index; what cannot be done yet stays in it.

        An index that was never built, or whose embedder changed, waits for `index`.
        """
        index = get_index(name)
        tally = _Tally()
        if self._writable(index):
            self._drain(index, tally, left=_left_over.setdefault(name, {}))
        return self._report(index, tally, 0, is_serving=True, reason="")

    def refresh(self, name: str, keys: Sequence[str]) -> None:
        """Embed these objects anew, whatever the index holds of them; at most 500 keys."""
        self._refresh(get_index(name), keys, _Tally(), force=True)

    def sweep(self, name: str) -> IndexReport:
        """Work off the whole outbox, with what this process could not clear before."""
        index, tally = get_index(name), _Tally()
        if self._writable(index):
            self._drain(index, tally)
        return self._report(index, tally, 0, is_serving=self.is_current(name), reason="")

    def is_current(self, name: str) -> bool:
        """Return whether the serving generation fits the configured embedder and text."""
        index = get_index(name)
        serving = generations.serving_of(index)
        return serving is not None and serving.fingerprint == self._fingerprint(index)

    def _fingerprint(self, index: VectorIndex) -> str:
        return generations.fingerprint_of(index, EmbeddingService(index.embedder).identity)

    def _writable(self, index: VectorIndex) -> list[IndexGeneration]:
        return generations.generations_of(index, self._fingerprint(index))

    def _target(
        self, index: VectorIndex, *, rebuild: bool, batch_size: int
    ) -> tuple[IndexGeneration, str]:
        """Return the generation to fill, and why it is a new one ("" if it serves)."""
        fingerprint = self._fingerprint(index)
        serving = generations.serving_of(index)
        candidates = self._writable(index)
        service = EmbeddingService(index.embedder)
        reason = ""
        if serving is None:
            reason = "first build"
        elif serving.fingerprint != fingerprint:
            reason = "embedder or text template changed"
        elif service.is_fitted and self._is_outgrown(index, serving):
            reason = "corpus size changed"
        elif rebuild:
            reason = "rebuild"
        if not reason and serving is not None:
            return serving, ""
        unfinished = [each for each in candidates if not each.is_complete]
        if unfinished:
            return unfinished[-1], reason
        texts = iterate_texts(index, batch_size)
        state = service.fit(texts) if service.is_fitted else b""
        generation = generations.create_generation(
            index,
            fingerprint=fingerprint,
            dimension=service.dimension,
            state=state,
            identity=service.identity,
            count=index.get_queryset().using(index.database).count(),
        )
        return generation, reason

    @staticmethod
    def _is_outgrown(index: VectorIndex, serving: IndexGeneration) -> bool:
        rows = index.get_queryset().using(index.database).count()
        return not serving.fitted_count <= 2 * rows <= 4 * max(serving.fitted_count, 1)

    def _refresh(
        self,
        index: VectorIndex,
        keys: Sequence[str],
        tally: _Tally,
        *,
        dirty: Sequence[tuple[int, str]] = (),
        force: bool = False,
    ) -> None:
        """Bring some objects up to date in every writable generation.

        Texts are embedded before the write transaction; inside it the live rows are read
        again, and whatever changed in between goes round once more.
        """
        tally.seen += len(keys)
        left = list(keys)
        for _ in range(_PASSES):
            left = self._pass(index, left, tally, dirty=dirty, force=force)
            if not left:
                return
        events.INDEXES_CHANGES_TOO_FAST.log(about=index.name, index=index.name, objects=len(left))
        outbox.add_dirty(index, left)

    def _pass(
        self,
        index: VectorIndex,
        keys: Sequence[str],
        tally: _Tally,
        *,
        dirty: Sequence[tuple[int, str]],
        force: bool,
    ) -> list[str]:
        documents = read_documents(index, keys)
        tally.failed.update(dict.fromkeys(documents.broken))
        targets = self._writable(index)
        vectors = {
            target.pk: self._embed(index, target, documents, tally, force=force)
            for target in targets
        }
        if not dirty and not any(vectors.values()) and holds(index, targets, documents):
            return []

        def work(state: IndexState) -> list[str]:
            live = read_documents(index, list(documents.pieces))
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
            kept = again | documents.broken.keys() | live.broken.keys()
            if not generations.has_foreign(index, self._fingerprint(index)):
                # Else a process with other settings still needs them for its generation.
                outbox.clear_dirty(index, [pk for pk, key in dirty if key not in kept])
            return sorted(again)

        left = generations.write(index, work)
        # Of rows, too: the process that changed them may have died before it did this.
        rows = [tags.row_tag_of(index.model, key) for key in dict(dirty).values()]
        tags.invalidate([tags.index_tag(index.name), *rows], using=index.database)
        if tally.failure is not None:
            raise tally.failure
        return left

    def _embed(
        self,
        index: VectorIndex,
        target: IndexGeneration,
        documents: Documents,
        tally: _Tally,
        *,
        force: bool,
    ) -> dict[str, bytes]:
        missing = contents.missing_hashes(index, target, documents, force=force)
        reused: dict[str, bytes] = {}
        if missing and not force:
            keys = list(documents.pieces)
            reused = held_elsewhere(index, target, keys=keys, hashes=missing.keys())
            missing = {h: text for h, text in missing.items() if h not in reused}
        if not missing:
            return reused
        found, hashes, service = reused, list(missing), EmbeddingService(index.embedder)
        size = service.request_size or len(hashes)
        for start in range(0, len(hashes), size):
            part = hashes[start : start + size]
            texts = [missing[each] for each in part]
            try:
                vectors = service.embed_documents(texts, state=bytes(target.fitted_state))
            except ObcAIError as error:
                if not start:
                    raise
                tally.failure = error  # raised once what was paid for is stored
                break
            tally.embedded += len(part)
            found.update(
                {h: row.astype("<f4").tobytes() for h, row in zip(part, vectors, strict=True)}
            )
        return found

    def _prune(
        self, index: VectorIndex, generation: IndexGeneration, batch_size: int, tally: _Tally
    ) -> int:
        """Remove objects that are held but no longer rows of the index."""
        removed, after = 0, ""
        while keys := contents.stored_keys(index, generation, after, batch_size):
            after = keys[-1]
            by_pk = {index.pk_of(key): key for key in keys}
            rows = index.get_queryset().using(index.database).order_by()
            live = rows.filter(pk__in=[pk for pk in by_pk if pk is not None])
            alive = {index.key_of_pk(pk) for pk in live.values_list("pk", flat=True)}
            gone = [key for key in keys if key not in alive]
            if gone:
                self._refresh(index, gone, tally)
                removed += len(gone)
        return removed

    def _drain(
        self, index: VectorIndex, tally: _Tally, *, left: dict[int, str] | None = None
    ) -> None:
        """Work off the outbox as it is now.

        Args:
            index: The index.
            tally: Counts what is done.
            left: Rows that stayed in the outbox before; tried again only when their
                object changes again, and kept up to date here. None tries all.
        """
        left = {} if left is None else left
        after, end = 0, outbox.last_dirty(index)
        while rows := outbox.take_dirty(index, after, end, BATCH_SIZE):
            after = rows[-1][0]
            fresh = [row for row in rows if row[0] not in left]
            keys = dict.fromkeys(key for _, key in fresh)  # a set that keeps the order
            if not keys:
                continue
            fresh += [(pk, key) for pk, key in left.items() if key in keys]
            self._refresh(index, list(keys), tally, dirty=fresh)
            stayed = outbox.still_dirty(index, [pk for pk, _ in fresh])
            for pk, key in fresh:
                left.pop(pk, None)
                if pk in stayed:
                    left[pk] = key

    @staticmethod
    def _report(
        index: VectorIndex, tally: _Tally, removed: int, *, is_serving: bool, reason: str
    ) -> IndexReport:
        return IndexReport(
            index=index.name,
            seen=tally.seen,
            embedded=tally.embedded,
            removed=removed,
            failed=tuple(tally.failed),
            is_serving=is_serving,
            reason=reason,
        )
