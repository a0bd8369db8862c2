"""`search_documents`: what a search finds in a collection, without a database."""

from __future__ import annotations

import pytest

from django_obc_ai.backends.embedders.hashing import HashingEmbedder
from django_obc_ai.backends.lexical_stores.bm25 import BM25LexicalStore
from django_obc_ai.exceptions import SearchError
from django_obc_ai.testing import search_documents

DOCS = {
    "coast": "fishing boats on the coast",
    "market": "rice is sold at the market",
    7: "a market for fish, with boats",
}


def test_ids_come_back_for_each_query_best_first() -> None:
    for mode in ("vector", "lexical", "hybrid"):
        found = search_documents(DOCS, {"a": "rice market", "b": "boats", "c": ""}, mode=mode)
        assert found["a"][0] == "market"
        assert set(found["b"]) == {"coast", 7}
        assert found["c"] == []
    assert search_documents(DOCS, {"b": "boats"}, k=1)["b"] == found["b"][:1]


def test_each_part_can_be_chosen() -> None:
    queries = {1: "zzzq market"}
    assert search_documents(DOCS, queries, mode="vector", threshold=0.99) == {1: []}
    assert search_documents(DOCS, queries, threshold=0.99)[1] == ["market", 7]
    assert len(search_documents(DOCS, queries, threshold=-1)[1]) == 3
    options = {"embedder": HashingEmbedder(dimension=2_048), "lexical_store": BM25LexicalStore()}
    assert search_documents(DOCS, queries, **options)[1]
    cut = dict.fromkeys(DOCS, "rice")
    assert search_documents(DOCS, {1: "coast"}, mode="vector", embedded=cut) == {1: []}
    assert search_documents(DOCS, {1: "coast"}, embedded=cut) == {1: ["coast"]}
    assert search_documents({}, queries) == {1: []}
    assert search_documents(DOCS, {}) == {}


def test_what_is_out_of_range_is_refused() -> None:
    with pytest.raises(SearchError, match="mode is 'words'"):
        search_documents(DOCS, {1: "a"}, mode="words")
    with pytest.raises(SearchError, match="k is 0"):
        search_documents(DOCS, {1: "a"}, k=0)
