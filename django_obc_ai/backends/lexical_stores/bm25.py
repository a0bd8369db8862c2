"""Okapi BM25 over postings in memory or in mapped files, with numpy alone.

The formula is that of Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and
Beyond" (2009), with the inverse document frequency that Lucene uses, which is never negative:

    sum over words of  log(1 + (N - n + .5) / (n + .5))  *  f (k1 + 1) / (f + k1 (1 - b + b l / L))

f is how often the chunk holds the word, l its length in words, L the mean length, N the number
of chunks and n that of chunks with the word. Nothing of it is kept: all but f and l is counted
anew for each query, so that one changed chunk changes no other's entry.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from django_obc_ai.backends.lexical_stores._content import Content, content_of
from django_obc_ai.backends.lexical_stores._segments import Segment, added, build
from django_obc_ai.backends.lexical_stores._snapshots import WORDS_KIND, WordSnapshot, save
from django_obc_ai.backends.lexical_stores.base import BaseLexicalStore, not_held
from django_obc_ai.backends.lexical_stores.words import query_words
from django_obc_ai.backends.snapshots.stores import SnapshotStore
from django_obc_ai.exceptions import IndexNotReadyError
from django_obc_ai.types import ReplicaState, SearchHit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from django_obc_ai.backends.lexical_stores.base import Texts
    from django_obc_ai.backends.snapshots.kinds import Kind


class BM25LexicalStore(SnapshotStore[WordSnapshot, Content], BaseLexicalStore):
    """BM25; words are on disk and in memory once for all processes, or in memory for each."""

    _kind: ClassVar[Kind[WordSnapshot]] = WORDS_KIND

    def __init__(
        self,
        *,
        path: str | os.PathLike[str] | None = None,
        k1: float = 1.5,
        b: float = 0.75,
    ) -> None:
        """Choose where the words are, and the two parameters.

        Args:
            path: Folder of their files, on a local disk; created when first needed. None keeps
                them in memory, for this process alone.
            k1: How much a word counts that comes again, at least 0; 0 counts it once.
            b: How much long chunks are held back, in [0, 1].

        Raises:
            ValueError: A parameter is out of range.
        """
        if not k1 >= 0:
            raise ValueError("k1 must be at least 0")
        if not 0 <= b <= 1:
            raise ValueError("b must be in [0, 1]")
        super().__init__(None if path is None else os.fspath(path))
        self._k1, self._b = float(k1), float(b)

    def reset(self, index: str, *, batches: Iterable[Texts], state: ReplicaState) -> None:
        """See `BaseLexicalStore.reset`."""
        if self.path is None:
            content = content_of(_built(batches, state), state)
            with self._lock:
                self._contents[index] = content
            return
        self._replace(
            index,
            lambda folder: save(folder, _built(batches, state), index=index, state=state),
            state,
        )

    def apply(
        self,
        index: str,
        *,
        ids: NDArray[np.int64],
        texts: Sequence[str],
        removed: Sequence[int],
        state: ReplicaState,
    ) -> None:
        """See `BaseLexicalStore.apply`."""
        gone = np.asarray(removed, dtype=np.int64)
        fresh = build(np.asarray(ids, dtype=np.int64), texts, state.version)
        self._change(index, lambda held: held.applied(fresh, gone, state))

    def search(
        self,
        index: str,
        queries: Sequence[str],
        k: int,
        allowed_ids: Sequence[int] | NDArray[np.int64] | None = None,
    ) -> list[list[SearchHit]]:
        """See `BaseLexicalStore.search`; scores are BM25's."""
        content = self._held(index)
        allowed = None if allowed_ids is None else np.asarray(allowed_ids, dtype=np.int64)
        eligible = [_eligible(each, allowed) for each in content.segments]
        return [self._best(content, query, k, eligible) for query in queries]

    def make_empty(self) -> BM25LexicalStore:
        """See `BaseLexicalStore.make_empty`."""
        return BM25LexicalStore(k1=self._k1, b=self._b)

    def _content_of(self, snapshot: WordSnapshot) -> Content:
        return content_of((snapshot.segment,), snapshot.state, base=snapshot)

    def _save(self, index: str, content: Content, folder: Path) -> None:
        save(
            folder,
            content.segments,
            index=index,
            state=content.state,
            watched=self._until_closing,
        )

    def _not_held(self, index: str) -> IndexNotReadyError:
        return not_held(index)

    def _best(
        self, content: Content, query: str, k: int, eligible: list[NDArray[np.bool_] | None]
    ) -> list[SearchHit]:
        words = sorted(Counter(query_words(query)).items())
        if not words or not content.total_length:  # no chunk that counts holds a word
            return []
        mean = content.total_length / content.count
        scores = [np.zeros(len(each.ids)) for each in content.segments]
        # In one order of words, whatever the segments: a sum of floats depends on it.
        for word, times in words:
            places = [each.pairs_of(word) for each in content.segments]
            rows = [each.rows[at] for each, at in zip(content.segments, places, strict=True)]
            holding = sum(
                int(each.is_alive[at].sum())
                for each, at in zip(content.segments, rows, strict=True)
            )
            weight = times * np.log1p((content.count - holding + 0.5) / (holding + 0.5))
            for score, segment, place, at in zip(
                scores, content.segments, places, rows, strict=True
            ):
                found = segment.counts[place].astype(np.float64)
                length = 1 - self._b + self._b * segment.lengths[at] / mean
                score[at] += weight * (found * (self._k1 + 1) / (found + self._k1 * length))
        parts = []
        for score, segment, mask in zip(scores, content.segments, eligible, strict=True):
            rows_found = np.flatnonzero(score if mask is None else score * mask)
            parts.append((segment.ids[rows_found], score[rows_found]))
        ids, found = (np.concatenate(each) for each in zip(*parts, strict=True))
        if k < len(ids):
            kept = found >= np.partition(found, len(found) - k)[len(found) - k]
            ids, found = ids[kept], found[kept]
        order = np.lexsort((ids, -found))[:k]
        return [
            SearchHit(id=number, score=score)
            for number, score in zip(ids[order].tolist(), found[order].tolist(), strict=True)
        ]


def _built(batches: Iterable[Texts], state: ReplicaState) -> tuple[Segment, ...]:
    segments: tuple[Segment, ...] = ()
    for ids, texts in batches:
        segments = added(segments, build(ids, texts, state.version))
    return segments


def _eligible(segment: Segment, allowed: NDArray[np.int64] | None) -> NDArray[np.bool_] | None:
    """Return which rows count, (n,) bool; None for all."""
    if allowed is not None:
        mask = np.zeros(len(segment.ids), dtype=bool)
        mask[segment.rows_of(allowed)] = True
        return mask & segment.is_alive
    return None if segment.is_alive.all() else segment.is_alive
