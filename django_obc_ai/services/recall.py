"""How much of the exact answer approximate search finds, and whether it may be used."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np
from django.db import connections, transaction
from django.db.models import Max, Min
from numpy.typing import NDArray

from django_obc_ai.backends.embedders import PaidEmbedder, embedders
from django_obc_ai.backends.vector_stores import vector_stores
from django_obc_ai.indexes import VectorIndex, get_index
from django_obc_ai.indexes.replica import Replica, sync
from django_obc_ai.logs import events
from django_obc_ai.models import Chunk, IndexState
from django_obc_ai.services.embeddings import EmbeddingService
from django_obc_ai.types import SearchHit

#: Queries that are sampled where a project gives none, and results that are compared.
SAMPLE, K = 200, 10
FROM_CALLER, FROM_INDEX = "given", "recall_queries()"
FROM_WORDS, FROM_MIDPOINTS = "first words of sampled chunks", "midpoints of sampled chunks"
#: Of a long text, people type no third.
_MOST_WORDS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class RecallReport:
    """What approximate search finds of what exact search does.

    Attributes:
        index: Name of the index.
        chunks: How many chunks it holds.
        floor: The index's `minimum_recall`.
        reason: Why nothing was measured, "" if it was; the rest is empty then.
        kind: What approximate index was searched, such as "HNSW, M 32".
        settings: What it was built and searched with.
        source: Where the queries came from: "given", "recall_queries()", "first words of sampled
            chunks" or "midpoints of sampled chunks".
        queries: How many.
        k: Results that were compared for each.
        recall: Mean share of the k nearest that were found, in [0, 1]. A result as near as the
            k-th nearest counts, whichever of equals it is.
        worst_decile: The same over the tenth of the queries with the lowest.
        exact_ms: Median time of an exact search.
        approximate_ms: Median time of an approximate one.
    """

    index: str
    chunks: int
    floor: float
    reason: str = ""
    kind: str = ""
    settings: str = ""
    source: str = ""
    queries: int = 0
    k: int = K
    recall: float = 0.0
    worst_decile: float = 0.0
    exact_ms: float = 0.0
    approximate_ms: float = 0.0

    @property
    def is_allowed(self) -> bool:
        """Return whether it was measured and reaches the floor."""
        return not self.reason and self.recall >= self.floor


def measure_recall(
    name: str, *, queries: Sequence[str] | None = None, k: int = K, sample: int = SAMPLE
) -> RecallReport:
    """Compare approximate search of an index with exact search, and change nothing.

    The approximate index is built if it is missing, which may take minutes. Queries are those
    that are given, else those of the index's `recall_queries`, else they are made of a sample of
    its chunks: their first words, or for a paid embedder the midpoints between the vectors of two,
    which cost nothing. Whole chunks would not do: a graph that finds all neighbours of a text of
    its own finds two thirds of those of what people type (docs/explanation/search-index.md).
    Texts are embedded like those of searches: a paid embedder is paid, under the budgets.

    Args:
        name: Name of the index.
        queries: Search texts; None for the index's own.
        k: Results to compare, at least 1.
        sample: How many chunks to take as queries where there are no texts, at least 1.

    Raises:
        UnknownIndexError: No such index.
        IndexNotReadyError: It was never built, or its files cannot be written.
        ValueError: k or sample is below 1.
    """
    return _measured(get_index(name), queries=queries, k=k, sample=sample)[0]


def decide_by_recall(name: str, *, queries: Sequence[str] | None = None) -> RecallReport:
    """Measure the recall of an index, and search it approximately if that is enough.

    From then on, in all processes, until it is measured again, another generation serves, or
    the vector store's settings change. If it is not enough, or nothing could be measured, the
    index is searched exactly.

    Raises:
        ObcAIError: As `measure_recall`.
    """
    index = get_index(name)
    report, replica = _measured(index, queries=queries, k=K, sample=SAMPLE)
    # A switch that came meanwhile has set it to None, which is right for what serves now.
    states = IndexState.objects.using(index.database).filter(
        pk=name, serving_id=replica.state.generation
    )
    if report.is_allowed:
        states.update(recall=report.recall, recall_of=report.settings)
    else:
        states.exclude(recall=None).update(recall=None, recall_of="")
    return report


def renew_recall(name: str) -> RecallReport | None:
    """Decide anew after a run of the indexer, where the vector store is to approximate.

    Never raises for what goes wrong with it: the index is there, and is searched as before.
    Returns None where there is nothing to decide.
    """
    index = get_index(name)
    try:
        store = vector_stores[index.vector_store]
        if not store.approximate_above:
            return None
        states = IndexState.objects.using(index.database).filter(pk=name)
        chunks = Chunk.objects.using(index.database).filter(generation__in=states.values("serving"))
        if chunks.count() < store.approximate_above:
            return None
        is_nested = connections[index.database].in_atomic_block
        with transaction.atomic(using=index.database) if is_nested else nullcontext():
            report = decide_by_recall(name)
    except Exception as error:  # noqa: BLE001 - recall_queries() and FAISS may raise anything
        events.INDEXES_RECALL_NOT_MEASURED.log(about=name, error=error, index=name)
        return None
    if not report.reason:
        event = events.INDEXES_RECALL_ALLOWS if report.is_allowed else events.INDEXES_RECALL_TOO_LOW
        event.log(index=name, k=report.k, recall=report.recall, floor=report.floor)
    return report


def _measured(
    index: VectorIndex, *, queries: Sequence[str] | None, k: int, sample: int
) -> tuple[RecallReport, Replica]:
    if k < 1 or sample < 1:
        raise ValueError("k and sample must be at least 1.")
    replica = sync(index)
    kind = replica.store.build_approximate(index.name)
    replica = sync(index) if kind else replica
    store = replica.store
    facts = RecallReport(
        index=index.name,
        chunks=store.count(index.name),
        floor=float(index.minimum_recall),
        reason="" if kind else _why_not(index, replica),
    )
    if facts.reason:
        return facts, replica
    source, asked = _queries(index, replica, queries, sample)
    shares: list[float] = []
    exact_seconds: list[float] = []
    seconds: list[float] = []
    for vector in asked:
        if not vector.any():  # no word of it is known: there is nothing to search for
            continue
        start = time.perf_counter()
        exact = _hits(index, replica, vector, k, is_exact=True)
        middle = time.perf_counter()
        found = _hits(index, replica, vector, k, is_exact=False)
        seconds.append(time.perf_counter() - middle)
        exact_seconds.append(middle - start)
        shares += [_share(exact, found)] if exact else []
    if not shares:
        reason = "none of the queries finds anything"
        return replace(facts, reason=reason), replica
    worst = sorted(shares)[: max(1, len(shares) // 10)]
    report = replace(
        facts,
        kind=kind,
        settings=store.approximate_settings,
        source=source,
        queries=len(shares),
        k=k,
        recall=statistics.fmean(shares),
        worst_decile=statistics.fmean(worst),
        exact_ms=1_000 * statistics.median(exact_seconds),
        approximate_ms=1_000 * statistics.median(seconds),
    )
    return report, replica


def _why_not(index: VectorIndex, replica: Replica) -> str:
    store = replica.store
    if not store.can_approximate or not store.approximate_above:
        return "its vector store's options ask for no approximate index"
    count = store.count(index.name)
    if count < store.approximate_above:
        return f"it has {count:,} chunks, and the option 'above' says {store.approximate_above:,}"
    return "its approximate index could not be built; the log says why"


def _share(exact: Sequence[SearchHit], found: Sequence[SearchHit]) -> float:
    """Return the share of the nearest that were found.

    Objects with equal texts are equally near: which of them come first is the ids' choice, and
    none of them is a worse answer.
    """
    nearest = {hit.id for hit in exact}
    # A database may sum in another order than the exact ranking, and end one unit lower.
    return sum(hit.id in nearest or hit.score >= exact[-1].score for hit in found) / len(exact)


def _hits(
    index: VectorIndex,
    replica: Replica,
    vector: NDArray[np.float32],
    k: int,
    *,
    is_exact: bool,
) -> list[SearchHit]:
    store, queries = replica.store, vector[None, :]
    if store.is_in_database:
        rows = index.get_queryset().using(index.database)
        return store.search_rows(index.name, queries, k, rows, is_exact=is_exact)[0]
    return store.search(index.name, queries, k, is_exact=is_exact)[0]


def _queries(
    index: VectorIndex, replica: Replica, given: Sequence[str] | None, sample: int
) -> tuple[str, NDArray[np.float32]]:
    """Return where the queries come from, and their vectors (m, d)."""
    service, state = EmbeddingService(index.embedder), replica.generation.fitted_state
    source, texts = (FROM_CALLER, given) if given is not None else (FROM_INDEX, None)
    texts = list(index.recall_queries() if texts is None else texts)
    is_paid = isinstance(embedders[index.embedder], PaidEmbedder)
    if not texts:
        chunks = _sampled(index, replica, 2 * sample if is_paid else sample)
        if is_paid:
            return FROM_MIDPOINTS, _midpoints(chunks, replica.generation.dimension)
        source, texts = FROM_WORDS, [_first_words(chunk.text) for chunk in chunks]
    return source, service.embed_queries(texts, state=state)


def _first_words(text: str) -> str:
    words = text.split()
    return " ".join(words[: max(1, round(len(words) / 3))][:_MOST_WORDS])


def _midpoints(chunks: Sequence[Chunk], dimension: int) -> NDArray[np.float32]:
    joined = b"".join(bytes(chunk.vector) for chunk in chunks)
    vectors = np.frombuffer(joined, dtype="<f4").reshape(len(chunks), dimension)
    half = len(chunks) // 2
    found = vectors[:half] + vectors[half : 2 * half]
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    middle: NDArray[np.float32] = (found / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    return middle


def _sampled(index: VectorIndex, replica: Replica, sample: int) -> list[Chunk]:
    """Return chunks that are evenly spread over the ids: the same ones each time."""
    chunks = Chunk.objects.using(index.database).filter(generation_id=replica.state.generation)
    bounds = chunks.aggregate(first=Min("pk"), last=Max("pk"))
    if bounds["first"] is None:
        return []
    found: dict[int, Chunk] = {}
    for start in np.linspace(bounds["first"], bounds["last"], sample).astype(np.int64).tolist():
        chunk = chunks.filter(pk__gte=start).order_by("pk").first()
        if chunk is not None:
            found[chunk.pk] = chunk
    return list(found.values())
