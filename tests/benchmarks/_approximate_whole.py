"""Whole searches: the service, beside a bare library whose rows are read through the ORM."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tests.benchmarks._approximate_bare import Way
from tests.benchmarks._approximate_data import Data, K, Part
from tests.benchmarks._approximate_database import FAISS, INDEX, PGVECTOR
from tests.benchmarks._approximate_embedder import GivenVectors
from tests.benchmarks._approximate_stores import bare_search, can_approximate, use


def whole_ways(part: Part, data: Data, dsn: str, bare: Sequence[Way]) -> list[tuple[Way, Way]]:
    """Return pairs of the service with a store, and what the same is by hand.

    Args:
        part: What is measured.
        data: Its questions.
        dsn: Of the database.
        bare: The libraries on the clock; that of faiss with the part's efSearch is taken.
    """
    GivenVectors.questions = data.questions
    found = []
    if can_approximate(FAISS):
        other = next(
            (w for w in bare if w.name == "bare faiss HNSW" and w.ef == part.ef_search), None
        )
        if other is not None:
            nearest = _nearest_of(other)
            by_hand = Way(
                name="bare faiss, rows by the ORM", ef=other.ef, prepare=other.prepare,
                work=lambda question: _rows(nearest(question)), rows_of=_pks,
            )  # fmt: skip
            found.append((_service(FAISS, "FaissVectorStore", part.ef_search), by_hand))
    if can_approximate(PGVECTOR):
        search = bare_search(part, dsn)
        by_hand = Way(
            name="bare SQL, rows by the ORM", ef=part.pgvector_ef_search,
            work=lambda question: _rows([pk for pk, _ in search(question)]), rows_of=_pks,
        )  # fmt: skip
        service = _service(PGVECTOR, "PgvectorVectorStore", part.pgvector_ef_search)
        found.append((service, by_hand))
    return found


def _service(alias: str, name: str, ef: int) -> Way:
    from django_obc_ai.services.search import SimilaritySearchService

    service = SimilaritySearchService()
    return Way(
        name=f"SimilaritySearchService, {name}", ef=ef, asks_text=True,
        prepare=lambda: _allow(alias),
        work=lambda text: service.search(INDEX, text, user=None, k=K, mode="vector"),
        rows_of=lambda results: [each.object.pk - 1 for each in results],
    )  # fmt: skip


def _allow(alias: str) -> None:
    """Let the service search the graph of a store, as if its recall had been measured."""
    from django_obc_ai.backends.vector_stores import vector_stores
    from django_obc_ai.indexes.replica import sync
    from django_obc_ai.models import IndexState

    index = use(alias)
    settings = vector_stores[alias].approximate_settings
    IndexState.objects.filter(pk=INDEX).update(recall=1.0, recall_of=settings)
    assert not sync(index).is_exact, f"the service searches {alias} exactly"


def _nearest_of(way: Way) -> Callable[[np.ndarray], list[int]]:
    return lambda question: [int(row) + 1 for row in way.rows_of(way.work(question))]


def _rows(ids: Sequence[int]) -> list[tuple[Any, Any]]:
    """Read the chunks and the rows behind them that anybody may see, in the order of the ids."""
    from django_obc_ai.models import Chunk
    from tests.testapp.models import Place

    chunks = Chunk.objects.in_bulk(list(ids))
    pks = [int(each.object_key) for each in chunks.values()]
    places = {each.pk: each for each in Place.objects.filter(pk__in=pks, is_hidden=False)}
    return [(places[int(chunks[pk].object_key)], chunks[pk]) for pk in ids]


def _pks(answer: Sequence[tuple[Any, Any]]) -> list[int]:
    return [place.pk - 1 for place, _ in answer]
