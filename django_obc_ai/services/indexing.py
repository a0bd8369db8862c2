"""Keeping indexes equal to their rows: full runs, and the outbox of changes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import closing

from django_obc_ai.gateway import tags
from django_obc_ai.indexes import VectorIndex, contents, generations, get_index, held, outbox
from django_obc_ai.indexes.documents import iterate_keys, iterate_texts
from django_obc_ai.models import IndexGeneration
from django_obc_ai.services._embedding_ahead import MOST_WORKERS
from django_obc_ai.services._index_reports import IndexProgress, IndexReport, Progress
from django_obc_ai.services._index_writing import Tally, Writing, is_alone
from django_obc_ai.services._pace import Pace
from django_obc_ai.services._verification import Verifying
from django_obc_ai.services.embeddings import EmbeddingService
from django_obc_ai.services.recall import renew_recall

BATCH_SIZE = 200

#: By index, outbox rows that this process could not clear: texts that cannot be computed,
#: and what a generation of other settings waits for. `IndexingService.index` tries them.
_left_over: dict[str, dict[int, str]] = {}


def left_over_of(name: str) -> Collection[int]:
    """Return the outbox rows that this process has tried and could not clear."""
    return _left_over.get(name, {}).keys()


class IndexingService(Writing, Verifying):
    """Build and update the indexes of this project."""

    def index(
        self,
        name: str,
        *,
        limit: int | None = None,
        rebuild: bool = False,
        force: bool = False,
        batch_size: int = BATCH_SIZE,
        workers: int = 1,
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
            workers: Requests to the embedder that are under way at once, 1 to 64. Rate limits
                and budgets hold as for any call. In a transaction, and with SQLite in memory,
                it is one.
            progress: Called with an `IndexProgress` after each batch.

        Raises:
            UnknownIndexError: No such index.
            ValueError: limit, batch_size or workers is out of range.
            ObcAIError: A text could not be embedded, for a budget or limit that is used up or
                a provider that fails. What was embedded by then, and what was under way, is
                stored.
        """
        if not 1 <= workers <= MOST_WORKERS:
            raise ValueError(f"workers is {workers}; give 1 to {MOST_WORKERS}.")
        if not 1 <= batch_size <= 500:  # below SQLite's limit on query parameters
            raise ValueError(f"batch_size is {batch_size}; give 1 to 500.")
        if limit is not None and limit < 1:
            raise ValueError(f"limit is {limit}; give at least 1, or None for all rows.")
        index = get_index(name)
        generations.ensure_state(index)
        generation, reason = self._target(index, rebuild=rebuild, batch_size=batch_size)
        tally = Tally(target=generation)
        total = index.get_queryset().using(index.database).count()
        total = total if limit is None else min(total, limit)
        pace = Pace()
        workers = 1 if is_alone(index.database) else workers
        keys = iterate_keys(index, batch_size, limit)
        steps = self._refresh_all(index, keys, tally, force=force, workers=workers)
        with closing(steps):  # what is embedded is stored at once, whatever happens here
            for _ in steps:
                pace.note(tally.seen)
                if progress is not None:
                    progress(_progress_of(pace, tally.seen, total))
        if limit is not None:
            serving = generations.serving_of(index)
            is_serving = serving is not None and serving.pk == generation.pk
            return self._report(index, tally, 0, is_serving=is_serving, reason=reason)
        seen = tally.seen
        removed = self._prune(index, generation, batch_size, tally)
        held.prepare(index, generation)
        serving = generations.serving_of(index)
        if serving is None or serving.pk != generation.pk:
            generations.switch_to(index, generation)
            tags.invalidate([tags.index_tag(name)], using=index.database)
        generations.remove_retired(index)
        self._drain(index, tally)
        tally.seen = seen  # rows of the index, each once, whatever the outbox held besides
        is_serving = self.is_current(name)
        renew_recall(name)
        return self._report(index, tally, removed, is_serving=is_serving, reason=reason)

    def process_changes(self, name: str) -> IndexReport:
        """Work off the outbox of one index; what cannot be done yet stays in it.

        An index that was never built, or whose embedder changed, waits for `index`.
        """
        index = get_index(name)
        tally = Tally()
        if self._writable(index):
            self._drain(index, tally, left=_left_over.setdefault(name, {}))
        return self._report(index, tally, 0, is_serving=True, reason="")

    def refresh(self, name: str, keys: Sequence[str]) -> None:
        """Embed these objects anew, whatever the index holds of them; at most 500 keys."""
        self._refresh(get_index(name), keys, Tally(), force=True)

    def sweep(self, name: str) -> IndexReport:
        """Work off the whole outbox, with what this process could not clear before."""
        index, tally = get_index(name), Tally()
        if self._writable(index):
            self._drain(index, tally)
        return self._report(index, tally, 0, is_serving=self.is_current(name), reason="")

    def is_current(self, name: str) -> bool:
        """Return whether the serving generation fits the configured embedder and text."""
        index = get_index(name)
        serving = generations.serving_of(index)
        return serving is not None and serving.fingerprint == self._fingerprint(index)

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

    def _prune(
        self, index: VectorIndex, generation: IndexGeneration, batch_size: int, tally: Tally
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
        self, index: VectorIndex, tally: Tally, *, left: dict[int, str] | None = None
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
        index: VectorIndex, tally: Tally, removed: int, *, is_serving: bool, reason: str
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


def _progress_of(pace: Pace, done: int, total: int) -> IndexProgress:
    return IndexProgress(
        done=done,
        total=total,
        per_second=pace.per_second,
        seconds_left=pace.seconds_left(total),
    )
