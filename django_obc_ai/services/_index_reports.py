"""What runs of the indexer and verifications say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexProgress:
    """How far a run of the indexer is.

    Attributes:
        done: Objects looked at.
        total: Objects there are.
        per_second: Objects a second over the last minute; None while nobody can tell.
        seconds_left: How long the rest takes at that speed; None while nobody can tell.
    """

    done: int
    total: int
    per_second: float | None = None
    seconds_left: float | None = None


#: Called after each batch.
Progress = Callable[[IndexProgress], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexReport:
    """What a run of the indexer did.

    Attributes:
        index: Name of the index.
        seen: Objects looked at.
        embedded: Texts that were embedded; unchanged texts are not.
        removed: Objects taken out because their rows are gone.
        failed: Keys whose text could not be computed; they stay as they were.
        is_serving: Whether searches use what this run wrote.
        reason: Why a new generation was built, "" if none was.
    """

    index: str
    seen: int = 0
    embedded: int = 0
    removed: int = 0
    failed: tuple[str, ...] = ()
    is_serving: bool = True
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexVerification:
    """Whether an index equals its queryset, row by row and chunk by chunk.

    Attributes:
        index: Name of the index.
        rows: Rows of the queryset that were compared.
        chunks: Chunks that the serving generation holds.
        different: Keys of rows whose chunks are missing or hold another text.
        broken: Keys of objects with a vector of the wrong length or with values that are
            no numbers.
        dangling: Keys of objects that are held but no longer rows of the index.
        unreadable: Keys whose text could not be computed; nothing is known of them.
        waiting: Outbox rows that are not worked off.
        waiting_seconds: Age of the oldest of them, 0.0 if there is none.
        repaired: Objects that were brought up to date before this comparison.
        reason: Why it could not be told, "" if it could.
    """

    index: str
    rows: int = 0
    chunks: int = 0
    different: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    dangling: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    waiting: int = 0
    waiting_seconds: float = 0.0
    repaired: int = 0
    reason: str = ""

    @property
    def is_equal(self) -> bool:
        """Return whether index == queryset was proved."""
        return self.exit_code == 0

    @property
    def exit_code(self) -> int:
        """Return 0 if it is equal, 1 if it differs, 2 if it could not be told."""
        if self.different or self.broken or self.dangling:
            return 1
        return 2 if self.reason or self.unreadable else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexEstimate:
    """What a run of the indexer would have to do.

    Attributes:
        index: Name of the index.
        rows: Rows of the queryset.
        texts: Texts to embed; unchanged ones are not.
        tokens: Upper bound of their tokens: a token has at least one byte of UTF-8.
        cost_usd: Upper bound in US dollars; Decimal(0) if the embedder is free, None if the
            price of its model is not known.
        minutes: By the speed of a sample; None for a paid embedder, which is not tried out.
        unreadable: Keys whose text could not be computed.
        reason: Why a new generation would be built, "" if none.
    """

    index: str
    rows: int
    texts: int
    tokens: int
    cost_usd: Decimal | None
    minutes: float | None
    unreadable: tuple[str, ...] = ()
    reason: str = ""
