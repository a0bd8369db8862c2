"""Embedding the texts of the next batches, in threads if there are some, ahead of the writer.

Threads only embed. Rows are read, and the index is written, by the one thread that runs the
indexer: a project's ``get_text`` is never called by two at once, a caller's transaction sees its
own rows, no reader meets the writer's lock, and writes keep their order.
"""

from __future__ import annotations

import contextvars
import queue
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import connections

from django_obc_ai.exceptions import BudgetExceededError, InvalidRequestError
from django_obc_ai.indexes import VectorIndex, contents
from django_obc_ai.indexes.documents import Documents, read_documents
from django_obc_ai.indexes.reuse import held_elsewhere
from django_obc_ai.models import IndexGeneration
from django_obc_ai.services.embeddings import EmbeddingService

MOST_WORKERS = 64
#: So many texts refused one by one, and none taken: then it is not the texts.
_MOST_REFUSED = 3


@dataclass(slots=True, kw_only=True)
class Part:
    """Texts that are embedded together: what one paid request takes.

    Attributes:
        state: What the embedder has learned from the corpus.
        texts: By content hash.
        found: Vectors by content hash, as bytes.
        refused: Hashes of texts that the embedder does not take, and why.
        is_done: Set when nobody works on it any more, whatever came of it.
        is_whole: Whether every text was tried.
    """

    state: bytes
    texts: dict[str, str]
    found: dict[str, bytes] = field(default_factory=dict)
    refused: dict[str, Exception] = field(default_factory=dict)
    is_done: threading.Event = field(default_factory=threading.Event)
    is_whole: bool = False


@dataclass(slots=True, kw_only=True)
class Batch:
    """Some objects as they should be, with the vectors that this takes.

    Attributes:
        documents: What the index should hold of them.
        targets: The generations that are written.
        missing: By generation, the hashes that have no vector in it.
        reused: By generation, vectors that other generations hold.
        parts: What is to be embedded.
        is_stored: Whether its vectors are in the index.
    """

    documents: Documents
    targets: list[IndexGeneration]
    missing: dict[Any, dict[str, str]]  # by primary key
    reused: dict[Any, dict[str, bytes]]
    parts: list[Part]
    is_stored: bool = False

    @property
    def is_whole(self) -> bool:
        """Return whether every text was tried."""
        return all(part.is_whole for part in self.parts)

    @property
    def embedded(self) -> int:
        """Return how many texts were embedded."""
        return sum(len(part.found) for part in self.parts)

    def vectors(self) -> dict[Any, dict[str, bytes]]:
        """Return what there is for each generation, by content hash."""
        found = {}
        for target in self.targets:
            state = bytes(target.fitted_state)
            vectors = dict(self.reused[target.pk])
            for part in self.parts:
                if part.state == state:
                    wanted = part.found.keys() & self.missing[target.pk].keys()
                    vectors.update({each: part.found[each] for each in wanted})
            found[target.pk] = vectors
        return found

    def set_refused_aside(self) -> None:
        """Let objects with a text that is refused be as those whose text cannot be computed."""
        refused = {h: error for part in self.parts for h, error in part.refused.items()}
        if not refused:
            return
        pieces, broken = self.documents.pieces, self.documents.broken
        for key, wanted in list(pieces.items()):
            errors = [refused[p.content_hash] for p in wanted if p.content_hash in refused]
            if errors:
                broken[key] = errors[0]
                del pieces[key]


def read_batch(
    index: VectorIndex, keys: Sequence[str], targets: list[IndexGeneration], *, force: bool
) -> Batch:
    """Read objects, and say what is to be embedded for them.

    Generations with the same fitted state share a vector.
    """
    documents = read_documents(index, keys)
    missing: dict[Any, dict[str, str]] = {}
    reused: dict[Any, dict[str, bytes]] = {}
    texts: dict[bytes, dict[str, str]] = {}
    for target in targets:
        wanted = contents.missing_hashes(index, target, documents, force=force)
        held: dict[str, bytes] = {}
        if wanted and not force:
            held = held_elsewhere(index, target, keys=list(documents.pieces), hashes=wanted.keys())
            wanted = {h: text for h, text in wanted.items() if h not in held}
        missing[target.pk], reused[target.pk] = wanted, held
        texts.setdefault(bytes(target.fitted_state), {}).update(wanted)
    size = EmbeddingService(index.embedder).request_size
    parts = [
        Part(state=state, texts=dict(items[start : start + (size or len(items))]))
        for state, items in ((state, list(found.items())) for state, found in texts.items())
        for start in range(0, len(items), size or len(items) or 1)
    ]
    return Batch(documents=documents, targets=targets, missing=missing, reused=reused, parts=parts)


class Ahead:
    """Embeds batches in the order they come; a failure ends it, and nothing is begun then.

    Args:
        alias: Of the embedder.
        workers: Threads that embed; 1 embeds in the caller's own, when a batch is taken.
    """

    def __init__(self, alias: str, workers: int = 1) -> None:
        """Start no thread yet."""
        self.error: Exception | None = None
        self._service = EmbeddingService(alias)
        self._workers = workers
        self._pending: deque[Batch] = deque()
        self._parts: queue.SimpleQueue[Part | None] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []
        self._turn = threading.Condition()
        self._under_way = 0
        self._is_narrow = workers == 1
        self._refused = 0
        self._has_taken = False

    @property
    def is_full(self) -> bool:
        """Return whether there is work enough, and a batch should be taken."""
        if self._workers == 1:
            return bool(self._pending)
        waiting = sum(not part.is_done.is_set() for each in self._pending for part in each.parts)
        return waiting >= 2 * self._workers or len(self._pending) >= 2 * self._workers

    def put(self, batch: Batch) -> None:
        """Have a batch embedded."""
        self._pending.append(batch)
        if self._workers == 1:
            return
        while batch.parts and len(self._threads) < self._workers:
            context = contextvars.copy_context()
            name = f"obc-ai-embed-{len(self._threads) + 1}"
            thread = threading.Thread(target=context.run, args=(self._work,), name=name)
            thread.daemon = True  # a second Ctrl-C waits for nobody
            try:
                thread.start()
            except RuntimeError:  # there may be no more of them
                if not self._threads:  # then the caller's own thread embeds
                    self._workers, self._is_narrow = 1, True
                    return
                break
            self._threads.append(thread)
        for part in batch.parts:
            self._parts.put(part)

    def batches(self, *, is_full: bool = False) -> Iterator[Batch]:
        """Yield the batches that are there, in order, each as far as it was embedded.

        A batch stays with the others until the caller asks for the next one.

        Args:
            is_full: Only while `is_full`.
        """
        while self._pending and (self.is_full or not is_full):
            batch = self._pending[0]
            for part in batch.parts:
                if self._workers == 1:
                    self._buy(part)
                part.is_done.wait()
            batch.set_refused_aside()
            yield batch
            self._pending.popleft()

    def stop(self) -> None:
        """Begin nothing more; what is under way goes on, since it is paid for."""
        with self._turn:
            self._stopped.set()
            self._turn.notify_all()

    def close(self) -> None:
        """End the threads, which let their connections go.

        They are waited for unless somebody has interrupted the waiting already.
        """
        self.stop()
        for _ in self._threads:
            self._parts.put(None)
        for thread in self._threads if not self._pending else ():
            thread.join()

    def _work(self) -> None:
        try:
            while (part := self._parts.get()) is not None:
                self._buy(part)
        finally:
            connections.close_all()  # this thread's own

    def _buy(self, part: Part) -> None:
        """Embed a part, and note what came of it.

        Requests that are under way are held at the most that they may cost. What is refused
        beside them may fit once they are settled: so from then on there is one at a time, and
        what is refused then is refused.
        """
        try:
            while not (part.is_whole or part.is_done.is_set()):
                is_alone = self._begin()
                if is_alone is None:
                    return
                try:
                    left = part.texts.keys() - part.found.keys() - part.refused.keys()
                    self._embed(part, [each for each in part.texts if each in left])
                    part.is_whole = True
                except BudgetExceededError:
                    if is_alone:
                        raise
                    self._is_narrow = True
                finally:
                    self._end()
        except Exception as error:  # noqa: BLE001 - raised by the writer, once all is stored
            self.error = self.error or error
            self.stop()
        finally:
            part.is_done.set()

    def _begin(self) -> bool | None:
        """Wait for this thread's turn; return whether nobody else has one, None if it is over."""
        with self._turn:
            self._turn.wait_for(
                lambda: self._stopped.is_set() or not (self._is_narrow and self._under_way)
            )
            if self._stopped.is_set():
                return None
            self._under_way += 1
            return self._is_narrow

    def _end(self) -> None:
        with self._turn:
            self._under_way -= 1
            self._turn.notify_all()

    def _embed(self, part: Part, hashes: list[str]) -> None:
        """Embed texts; where they are refused, by halves, until it is known which ones are."""
        texts = [part.texts[each] for each in hashes]
        try:
            vectors = self._service.embed_documents(texts, state=part.state)
        except InvalidRequestError as error:
            if len(hashes) == 1:
                part.refused[hashes[0]] = error
                self._refused += 1
                if self._refused >= _MOST_REFUSED and not self._has_taken:
                    raise
                return
            if self._stopped.is_set():
                raise
            half = len(hashes) // 2
            self._embed(part, hashes[:half])
            self._embed(part, hashes[half:])
            return
        self._has_taken = True
        rows = zip(hashes, vectors, strict=True)
        part.found.update({each: row.astype("<f4").tobytes() for each, row in rows})
