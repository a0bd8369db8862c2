"""Searching a collection of one's own, to measure what is found in it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from django_obc_ai.exceptions import SearchError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from django_obc_ai.backends.embedders import BaseEmbedder
    from django_obc_ai.backends.lexical_stores import BaseLexicalStore

_NAME = "collection"


def search_documents(
    docs: Mapping[Any, str],
    queries: Mapping[Any, str],
    *,
    mode: str = "hybrid",
    k: int = 10,
    embedder: BaseEmbedder | None = None,
    lexical_store: BaseLexicalStore | None = None,
    lexical_weight: float = 1.0,
    threshold: float | None = None,
    embedded: Mapping[Any, str] | None = None,
) -> dict[Any, list[Any]]:
    """Search texts as a `VectorIndex` would, without a database, model or index.

    Compare what comes back with answers that you have judged, and you know what a search finds
    in texts such as yours, by which mode, embedder and weight. Each text is one chunk.

    Args:
        docs: Texts by id, of any type.
        queries: Queries by id.
        mode: "vector", "lexical" (words) or "hybrid" (both, fused by rank).
        k: Documents wanted of each query, at least 1.
        embedder: Embeds docs and queries, and learns from docs if it learns at all; None is
            ``OBC_AI["EMBEDDERS"]["default"]``, which must not cost money.
        lexical_store: Searches by words; None is a fresh `BM25LexicalStore`. What it holds
            under the name "collection" is replaced.
        lexical_weight: See `VectorIndex.lexical_weight`.
        threshold: Least cosine similarity of what vectors find, in [-1, 1]; None is the
            embedder's own.
        embedded: Texts that are embedded in place of docs, by the same ids: the first words
            of each, for example, for a model that reads no more.

    Returns:
        For each query's id the ids of documents, best first, ties in the order of docs.

    Raises:
        SearchError: k or mode is out of range.
    """
    from django_obc_ai.services._fusion import DEPTH, MODES, fuse

    if mode not in MODES:
        raise SearchError(f"mode is {mode!r}; give one of {', '.join(MODES)}.")
    if k < 1:
        raise SearchError(f"k is {k}; ask for at least 1 result.")
    names, asked = list(docs), list(queries.values())
    if not names or not asked:
        return {name: [] for name in queries}
    depth = max(k, DEPTH)
    near: list[list[int]] = [[] for _ in asked]
    worded: list[list[int]] = [[] for _ in asked]
    if mode != "lexical":
        texts = [(embedded or docs)[name] for name in names]
        near = _nearest(texts, asked, embedder, threshold, depth)
    if mode != "vector":
        worded = _worded([docs[name] for name in names], asked, lexical_store, depth)
    weights = [1.0, lexical_weight]
    return {
        name: [names[row] for row in fuse([first, second], weights)[:k]]
        for name, first, second in zip(queries, near, worded, strict=True)
    }


def _nearest(
    texts: Sequence[str],
    queries: Sequence[str],
    embedder: BaseEmbedder | None,
    threshold: float | None,
    k: int,
) -> list[list[int]]:
    from django_obc_ai.backends.embedders import embedders
    from django_obc_ai.backends.vector_stores.numpy import NumpyVectorStore

    embedder = embedders["default"] if embedder is None else embedder
    state = embedder.fit(texts) if embedder.is_fitted else b""
    vectors = embedder.embed_documents(texts, state=state)
    asked = embedder.embed_queries(queries, state=state)
    least = embedder.minimum_similarity if threshold is None else threshold
    store = NumpyVectorStore()
    batches = [(_rows(len(texts)), vectors)]
    store.reset(_NAME, dimension=vectors.shape[1], batches=batches, state=_state())
    found = store.search(_NAME, asked, k)
    return [
        [hit.id for hit in hits if hit.score >= least] if query.any() else []
        for query, hits in zip(asked, found, strict=True)
    ]


def _worded(
    texts: Sequence[str], queries: Sequence[str], store: BaseLexicalStore | None, k: int
) -> list[list[int]]:
    from django_obc_ai.backends.lexical_stores.bm25 import BM25LexicalStore

    store = BM25LexicalStore() if store is None else store
    store.reset(_NAME, batches=[(_rows(len(texts)), texts)], state=_state())
    return [[hit.id for hit in hits] for hits in store.search(_NAME, queries, k)]


def _rows(count: int) -> NDArray[np.int64]:
    import numpy as np

    return np.arange(count, dtype=np.int64)


def _state() -> Any:
    from django_obc_ai.types import ReplicaState

    return ReplicaState(
        index_uuid=uuid.uuid4(), generation=uuid.uuid4(), version=1, stamp="collection"
    )
