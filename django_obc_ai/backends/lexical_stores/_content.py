"""One immutable moment of an index: a snapshot, what was removed from it, what was added."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from django_obc_ai.backends.lexical_stores._segments import Segment, added, tidied
from django_obc_ai.types import ReplicaState

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from django_obc_ai.backends.lexical_stores._snapshots import WordSnapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a search reads. A change makes another one; a running search keeps its own.

    Attributes:
        base: The snapshot; None if everything is in memory.
        segments: That of the snapshot, if there is one, without what was removed from it; then
            those in memory, of falling size.
        state: The moment that all this is.
        count: How many chunks count.
        total_length: How many words they hold.
    """

    base: WordSnapshot | None
    segments: tuple[Segment, ...]
    state: ReplicaState
    count: int
    total_length: int

    @property
    def changes(self) -> int:
        """Return how far it is from its snapshot, in chunks."""
        mapped, fresh = self._parts()
        removed = sum(len(each.ids) - each.alive for each in mapped)
        return removed + sum(len(each.ids) for each in fresh)

    def applied(self, fresh: Segment, removed: NDArray[np.int64], state: ReplicaState) -> Content:
        """Return the moment after some chunks came and went; an id in both is gone."""
        mapped, held = self._parts()
        gone = np.concatenate([removed, fresh.ids])
        kept = tuple(each.without(gone) for each in mapped)
        later = added(held, fresh.without(removed), removed=removed)
        return content_of((*kept, *later), state, base=self.base)

    def on(self, base: WordSnapshot) -> Content:
        """Return the same moment on a snapshot of one between its own snapshot and this one."""
        mapped, fresh = self._parts()
        is_later = [each.versions > base.state.version for each in fresh]
        earlier = [each.only(~mask) for each, mask in zip(fresh, is_later, strict=True)]
        held = np.concatenate([each.ids[each.is_alive] for each in (*mapped, *earlier)])
        is_held = np.isin(base.segment.ids, held, assume_unique=True)
        later = tidied([each.only(mask) for each, mask in zip(fresh, is_later, strict=True)])
        return content_of((base.segment.only(is_held), *later), self.state, base=base)

    def _parts(self) -> tuple[tuple[Segment, ...], tuple[Segment, ...]]:
        """Return what is mapped and what is in memory."""
        at = 0 if self.base is None else 1
        return self.segments[:at], self.segments[at:]


def content_of(
    segments: tuple[Segment, ...], state: ReplicaState, *, base: WordSnapshot | None = None
) -> Content:
    """Return a content with its counts."""
    return Content(
        base=base,
        segments=segments,
        state=state,
        count=sum(each.alive for each in segments),
        total_length=sum(each.total_length for each in segments),
    )
