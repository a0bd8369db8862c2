"""What indexing and searching pass on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchHit:
    """One chunk found by a vector store.

    Attributes:
        id: Primary key of the chunk.
        score: Cosine similarity in [-1, 1], higher is closer.
    """

    id: int
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """One object found by a search.

    Attributes:
        object: The live model instance, read as the searching user.
        score: Cosine similarity of its best chunk in [-1, 1], higher is closer; to two
            decimals where the embedder has learned from the whole corpus. Scores of
            different embedders cannot be compared.
        text: The chunk that matched.
        chunk_id: Primary key of that chunk.
        index: Name of the index that it was found in.
    """

    object: Any
    score: float
    text: str
    chunk_id: int
    index: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaState:
    """Which moment of which index a vector store holds.

    Attributes:
        index_uuid: Identity of the index row; another database has another one.
        generation: Identity of the generation that is served.
        version: Number of the last write, rising by one.
        stamp: Random mark of that write; a rolled-back write of the same number
            carries another one.
    """

    index_uuid: UUID
    generation: UUID
    version: int
    stamp: str
