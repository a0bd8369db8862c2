"""Postings in numpy arrays: which word is in which chunk, and how often.

A segment is written once and never changed. New chunks come in a segment of their own, removed
ones are masked, and segments of like size are merged, so that a change costs what it holds and
not what the index holds. Counts that a score needs are taken over all segments when somebody
asks, so that scores depend on what is held alone.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from django_obc_ai.backends.lexical_stores.words import words_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    #: Some words in order, how many pairs each has, and the rows and counts of those pairs.
    Block: TypeAlias = tuple[
        NDArray[np.uint64], NDArray[np.int64], NDArray[np.int32], NDArray[np.uint16]
    ]

_LARGEST_COUNT = 65_535
#: About so many pairs are merged at a time: some 50 MB of memory.
_PAIRS_PER_BLOCK = 1 << 20
#: A segment is merged into the one before it unless that has so many times its chunks.
_RATIO = 4
#: A segment is written anew when this share of its chunks is gone.
_DEAD_SHARE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """The postings of n chunks, v distinct words and p pairs of both.

    Attributes:
        ids: (n,) int64, rising.
        lengths: (n,) int32, words of each chunk.
        versions: (n,) int64, the version of the moment that brought the chunk, or a later one.
        words: (v,) uint64 hashes, rising.
        starts: (v + 1,) int64, where the pairs of each word begin.
        rows: (p,) int32, rising within a word; row i is chunk ids[i].
        counts: (p,) uint16, how often the chunk holds the word.
        is_alive: (n,) bool, what was not removed.
    """

    ids: NDArray[np.int64]
    lengths: NDArray[np.int32]
    versions: NDArray[np.int64]
    words: NDArray[np.uint64]
    starts: NDArray[np.int64]
    rows: NDArray[np.int32]
    counts: NDArray[np.uint16]
    is_alive: NDArray[np.bool_]

    @property
    def alive(self) -> int:
        """Return how many chunks count."""
        return int(np.count_nonzero(self.is_alive))

    @property
    def total_length(self) -> int:
        """Return how many words the chunks hold that count."""
        return int(self.lengths[self.is_alive].sum(dtype=np.int64))

    def pairs_of(self, word: int) -> slice:
        """Return where the pairs of a word are."""
        at = int(np.searchsorted(self.words, np.uint64(word)))
        if at == len(self.words) or int(self.words[at]) != word:
            return slice(0, 0)
        return slice(int(self.starts[at]), int(self.starts[at + 1]))

    def rows_of(self, ids: NDArray[np.int64]) -> NDArray[np.intp]:
        """Return the rows of those ids that are held, removed ones included."""
        rows = np.searchsorted(self.ids, ids)
        rows = rows[rows < len(self.ids)] if len(self.ids) else rows[:0]
        found: NDArray[np.intp] = np.unique(rows[np.isin(self.ids[rows], ids)])
        return found

    def without(self, ids: NDArray[np.int64]) -> Segment:
        """Return the segment with some chunks removed."""
        rows = self.rows_of(ids)
        if not self.is_alive[rows].any():
            return self
        is_alive = self.is_alive.copy()
        is_alive[rows] = False
        return replace(self, is_alive=is_alive)

    def only(self, mask: NDArray[np.bool_]) -> Segment:
        """Return the segment with all chunks removed but those of a mask (n,) bool."""
        return replace(self, is_alive=self.is_alive & mask)


class Merged:
    """One segment of what counts in several; an id counts in one of them at most.

    Its pairs are made some words at a time: what that takes of memory does not grow with them.

    Attributes:
        ids: See `Segment`; so are the next two.
        lengths: See `Segment`.
        versions: See `Segment`.
    """

    def __init__(self, segments: Sequence[Segment]) -> None:
        """Put the chunks in order.

        Args:
            segments: At least one.
        """
        ids = np.concatenate([each.ids[each.is_alive] for each in segments])
        order = np.argsort(ids)
        self.ids: NDArray[np.int64] = ids[order]
        lengths = np.concatenate([each.lengths[each.is_alive] for each in segments])
        self.lengths: NDArray[np.int32] = lengths[order]
        versions = np.concatenate([each.versions[each.is_alive] for each in segments])
        self.versions: NDArray[np.int64] = versions[order]
        self._segments = segments
        # The new row of each row of a segment, -1 for what does not count any more.
        places = np.empty(len(ids), dtype=np.int32)
        places[order] = np.arange(len(ids), dtype=np.int32)
        self._places, done = [], 0
        for each in segments:
            moved = np.full(len(each.ids), -1, dtype=np.int32)
            moved[each.is_alive] = places[done : done + each.alive]
            done += each.alive
            self._places.append(moved)

    def blocks(self) -> Iterator[Block]:
        """Yield all pairs by rising word and row."""
        largest = max(self._segments, key=lambda each: len(each.rows))
        at = np.arange(_PAIRS_PER_BLOCK, len(largest.rows), _PAIRS_PER_BLOCK)
        edges = largest.words[np.unique(np.searchsorted(largest.starts, at, side="right") - 1)]
        cuts = [
            [0, *np.searchsorted(each.words, edges).tolist(), len(each.words)]
            for each in self._segments
        ]
        for number in range(len(edges) + 1):
            parts = [
                self._part(which, cut[number], cut[number + 1]) for which, cut in enumerate(cuts)
            ]
            words, rows, counts = (np.concatenate(each) for each in zip(*parts, strict=True))
            order = np.lexsort((rows, words))
            words = words[order]
            starts = _starts_of(words)
            yield words[starts[:-1]], np.diff(starts), rows[order], counts[order]

    def _part(
        self, which: int, first: int, last: int
    ) -> tuple[NDArray[np.uint64], NDArray[np.int32], NDArray[np.uint16]]:
        """Return the pairs of some words of a segment that count, with their new rows."""
        segment = self._segments[which]
        starts = segment.starts[first : last + 1]
        pairs = slice(int(starts[0]), int(starts[-1]))
        rows = self._places[which][segment.rows[pairs]]
        kept = rows >= 0
        words = np.repeat(segment.words[first:last], np.diff(starts))
        return words[kept], rows[kept], segment.counts[pairs][kept]


def build(ids: NDArray[np.int64], texts: Sequence[str], version: int) -> Segment:
    """Return the segment of some chunks; of equal ids the last one counts.

    Args:
        ids: (n,) int64.
        texts: n of them.
        version: Of the moment that brings them.
    """
    kept = dict(zip(ids.tolist(), texts, strict=True))
    found = array("Q")
    lengths = np.zeros(len(kept), dtype=np.int32)
    for row, number in enumerate(sorted(kept)):
        held = words_of(kept[number])
        found.extend(held)
        lengths[row] = len(held)
    words = np.frombuffer(found, dtype=np.uint64) if found else np.empty(0, dtype=np.uint64)
    rows = np.repeat(np.arange(len(kept), dtype=np.int32), lengths)
    order = np.lexsort((rows, words))
    words, rows = words[order], rows[order]
    is_first = np.ones(len(words), dtype=bool)
    is_first[1:] = (words[1:] != words[:-1]) | (rows[1:] != rows[:-1])
    firsts = np.flatnonzero(is_first)
    counts = np.diff(np.append(firsts, len(words)))
    words, rows = words[firsts], rows[firsts]
    starts = _starts_of(words)
    return Segment(
        ids=np.array(sorted(kept), dtype=np.int64),
        lengths=lengths,
        versions=np.broadcast_to(np.int64(version), len(kept)),
        words=words[starts[:-1]],
        starts=starts,
        rows=rows,
        counts=np.minimum(counts, _LARGEST_COUNT).astype(np.uint16),
        is_alive=np.ones(len(kept), dtype=bool),
    )


def merge(segments: Sequence[Segment]) -> Segment:
    """Return one segment of what counts in several; see `Merged`."""
    merged = Merged(segments)
    words, sizes, rows, counts = (
        np.concatenate(each) for each in zip(*merged.blocks(), strict=True)
    )
    return Segment(
        ids=merged.ids,
        lengths=merged.lengths,
        versions=merged.versions,
        words=words,
        starts=np.append(0, np.cumsum(sizes)).astype(np.int64),
        rows=rows,
        counts=counts,
        is_alive=np.ones(len(merged.ids), dtype=bool),
    )


def added(
    segments: Sequence[Segment],
    fresh: Segment,
    *,
    removed: NDArray[np.int64] | None = None,
) -> tuple[Segment, ...]:
    """Return segments of falling size without what a new one replaces, and with it."""
    gone = fresh.ids if removed is None else np.concatenate([fresh.ids, removed])
    kept = [each.without(gone) for each in segments] if len(gone) else list(segments)
    return tidied([*kept, fresh])


def tidied(segments: Sequence[Segment]) -> tuple[Segment, ...]:
    """Return segments of falling size: those that hold little are merged with those before them."""
    kept = [each for each in segments if each.alive]
    kept = [
        merge([each]) if (len(each.ids) - each.alive) * _DEAD_SHARE > len(each.ids) else each
        for each in kept
    ]
    while len(kept) > 1 and kept[-2].alive < _RATIO * kept[-1].alive:
        last = kept.pop()
        kept[-1] = merge([kept[-1], last])
    return tuple(kept)


def _starts_of(words: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return where each word of sorted words (p,) begins, and p at the end."""
    is_new = np.ones(len(words), dtype=bool)
    is_new[1:] = words[1:] != words[:-1]
    return np.append(np.flatnonzero(is_new), len(words)).astype(np.int64)
