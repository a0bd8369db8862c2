"""What indexing and searching pass on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchHit:
    """One chunk found by a vector store or a lexical store.

    Attributes:
        id: Primary key of the chunk.
        score: Higher is better. Of vectors: cosine similarity in [-1, 1]; of words: above 0.
    """

    id: int
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """One object found by a search.

    Attributes:
        object: The live model instance, read as the searching user.
        score: Cosine similarity of the chunk that is shown in [-1, 1], higher is closer; to
            two decimals where the embedder has learned from the whole corpus. Hybrid results
            come in the order of fused ranks, not of scores. In lexical searches the share of
            the query's words that the chunk holds, in (0, 1]. Scores of different embedders
            cannot be compared.
        text: The chunk that matched.
        chunk_id: Primary key of that chunk.
        index: Name of the index that it was found in.
        start: Where `text` begins in the object's whole text, in characters.
        end: Where it ends, exclusive.
        highlights: (start, end) of the words in `text` that the query holds, rising, without
            overlap; () if there are none.
    """

    object: Any
    score: float
    text: str
    chunk_id: int
    index: str = ""
    start: int = 0
    end: int = 0
    highlights: tuple[tuple[int, int], ...] = ()


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
