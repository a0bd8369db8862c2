"""What the parts of a search take within one process of the example; see barangays.py.

Standard input: JSON of queries and how many documents to embed. Standard output: JSON of figures.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any


def each_ms(work: Callable[[str], object], queries: Sequence[str]) -> list[float]:
    times = []
    for query in queries:
        began = time.perf_counter()
        work(query)
        times.append((time.perf_counter() - began) * 1e3)
    return times


def main() -> None:
    import django

    django.setup()
    from communities import finding
    from django_obc_ai.backends.embedders import embedders
    from django_obc_ai.indexes import get_index
    from django_obc_ai.indexes.replica import sync

    facts: dict[str, Any] = json.load(sys.stdin)
    queries = facts["queries"]
    index, embedder = get_index("communities"), embedders["default"]
    began = time.perf_counter()
    finding.find(queries[0], user=None)
    first_seconds = time.perf_counter() - began
    replica = sync(index)
    state = replica.generation.fitted_state
    vectors = embedder.embed_queries(queries, state=state)
    texts = [index.get_text(each) for each in index.get_queryset()[: facts["documents"]]]
    began = time.perf_counter()
    embedder.embed_documents(texts, state=state)
    rate = len(texts) / (time.perf_counter() - began)
    numbers = iter(range(len(queries)))
    figures = {
        "first_seconds": first_seconds,
        "documents_a_second": rate,
        "dimension": embedder.dimension,
        "chunks": replica.store.count("communities"),
        "whole": each_ms(lambda query: finding.find(query, user=None), queries),
        "embedding": each_ms(lambda query: embedder.embed_queries([query], state=state), queries),
        "store": each_ms(
            lambda _: replica.store.search(
                "communities", vectors[(n := next(numbers)) : n + 1], 50
            ),
            queries,
        ),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
