"""The BM25 store: the contract, its formula, and words."""

from __future__ import annotations

import math
import tempfile
import uuid
from pathlib import Path
from typing import Any
from unittest import TestCase

import numpy as np
import pytest

from django_obc_ai.backends.lexical_stores import BaseLexicalStore
from django_obc_ai.backends.lexical_stores.bm25 import BM25LexicalStore
from django_obc_ai.backends.lexical_stores.words import query_words, spans_of, stem, words_of
from django_obc_ai.testing import LexicalStoreContract
from django_obc_ai.types import ReplicaState, SearchHit
from tests.test_contracts_bite import failures

STATE = ReplicaState(index_uuid=uuid.uuid4(), generation=uuid.uuid4(), version=1, stamp="s")


class TestBM25Store(LexicalStoreContract, TestCase):
    def make_store(self) -> BaseLexicalStore:
        return BM25LexicalStore()


class OwnStore(BaseLexicalStore):
    """What somebody writes who knows the contract alone: nothing but its abstract methods."""

    def __init__(self) -> None:
        self._store = BM25LexicalStore()

    def state(self, index: str) -> ReplicaState | None:
        return self._store.state(index)

    def reset(self, index: str, **given: Any) -> None:
        self._store.reset(index, **given)

    def apply(self, index: str, **given: Any) -> None:
        self._store.apply(index, **given)

    def search(self, index: str, queries: Any, k: int, allowed_ids: Any = None) -> Any:
        return self._store.search(index, queries, k, allowed_ids)

    def count(self, index: str) -> int:
        return self._store.count(index)

    def drop(self, index: str) -> None:
        self._store.drop(index)


class TestOwnStore(LexicalStoreContract, TestCase):
    def make_store(self) -> BaseLexicalStore:
        return OwnStore()


class KeepsRemoved(BM25LexicalStore):
    def apply(self, index: str, **given: Any) -> None:
        super().apply(index, **{**given, "removed": []})


class ScoresByDay(BM25LexicalStore):
    """Its frequencies are those of the day on which it was filled."""

    def apply(self, index: str, **given: Any) -> None:
        count = self._contents[index].count
        super().apply(index, **given)
        object.__setattr__(self._contents[index], "count", count)


class IgnoresAllowed(BM25LexicalStore):
    def search(self, index: str, queries: Any, k: int, allowed_ids: Any = None) -> Any:
        return super().search(index, queries, k, allowed_ids or None)


class TiesByPlace(BM25LexicalStore):
    def search(self, index: str, queries: Any, k: int, allowed_ids: Any = None) -> Any:
        found = super().search(index, queries, 10**6, allowed_ids)
        return [sorted(hits, key=lambda hit: (-hit.score, -hit.id))[:k] for hits in found]


class KeepsHalfAReset(BM25LexicalStore):
    def reset(self, index: str, *, batches: Any, **rest: Any) -> None:
        read: list[Any] = []
        try:
            read.extend(batches)
        finally:
            super().reset(index, batches=read, **rest)


class ClaimsToKeep(OwnStore):
    def __init__(self, *, path: str = "nowhere") -> None:
        super().__init__()
        self.path = path


class DropsMemoryAlone(BM25LexicalStore):
    def __init__(self, *, path: str | None = None) -> None:
        super().__init__(path=path or tempfile.mkdtemp())

    def drop(self, index: str) -> None:
        self._contents.pop(index, None)


@pytest.mark.parametrize(
    ("backend", "found_by"),
    [
        (KeepsRemoved, "test_changes_leave_what_a_fresh_store_would_hold"),
        (ScoresByDay, "test_changes_leave_what_a_fresh_store_would_hold"),
        (IgnoresAllowed, "test_only_allowed_ids_are_found"),
        (TiesByPlace, "test_ties_go_by_rising_id"),
        (KeepsHalfAReset, "test_a_reset_that_fails_midway_changes_nothing"),
        (ClaimsToKeep, "test_what_is_on_disk_comes_back_and_nothing_else"),
        (DropsMemoryAlone, "test_what_is_on_disk_comes_back_and_nothing_else"),
    ],
)
def test_a_broken_lexical_store_fails_its_suite(
    backend: type, found_by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert found_by in failures(LexicalStoreContract, "make_store", backend)


def filled(texts: list[str], **options: Any) -> BM25LexicalStore:
    store = BM25LexicalStore(**options)
    store.reset("a", batches=[(np.arange(len(texts)), texts)], state=STATE)
    return store


def test_scores_are_those_of_the_formula() -> None:
    texts = ["river river coast", "coast", "market stall lane", "river"]
    store = filled(texts, k1=1.2, b=0.75)
    mean, idf = 8 / 4, {"river": math.log(1 + 2.5 / 2.5), "coast": math.log(1 + 2.5 / 2.5)}

    def score(text: str) -> float:
        held, total = text.split(), 0.0
        for word, weight in idf.items():
            f = held.count(word)
            total += weight * f * 2.2 / (f + 1.2 * (0.25 + 0.75 * len(held) / mean))
        return total

    found = {hit.id: hit.score for hit in store.search("a", ["rivers coast"], 10)[0]}
    assert found == pytest.approx({row: score(texts[row]) for row in (0, 1, 3)})


@pytest.mark.parametrize("options", [{"k1": -1}, {"k1": float("nan")}, {"b": 1.1}, {"b": -0.1}])
def test_parameters_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        BM25LexicalStore(**options)


def test_words_fold_case_accents_and_endings() -> None:
    assert words_of("Ni\u00f1o") == words_of("NIN\u0303O") == words_of("nino")
    assert words_of("markets") == words_of("Market")
    assert words_of("planning planned") == words_of("plan plans")
    assert words_of("\ufb01sh") == words_of("fish")
    assert len(words_of("\ufdfa")) == 4
    assert words_of("?! …") == []
    assert stem("barangay") == "barangay"
    assert stem("2nds") == "2nds"


def test_a_query_keeps_its_small_words_if_it_has_no_others() -> None:
    assert query_words("what is the river") == words_of("river")
    assert query_words("to be or not to be") == words_of("not")
    assert query_words("what is the") == words_of("what is the")


def test_spans_are_offsets_in_the_text_as_it_is() -> None:
    text = "Sto. Nin\u0303o, \ufb01sh!"
    assert [text[start:end] for start, end, _ in spans_of(text)] == [
        "Sto",
        "Nin\u0303o",
        "\ufb01sh",
    ]


def test_one_text_of_a_million_letters_takes_no_time() -> None:
    store = filled(["x" * 1_000_000, "a\u0303" * 300_000, "\u0303" * 300_000])
    assert store.search("a", ["x"], 3) == [[]]


def test_hits_are_hits() -> None:
    (hits,) = filled(["river"]).search("a", ["river"], 1)
    assert hits == [SearchHit(id=0, score=hits[0].score)]


def test_of_long_words_and_queries_the_beginning_counts() -> None:
    marks = "a" + "\u0300" * 40_000 + "\u0316" * 40_000
    assert words_of(marks) == words_of("a")
    assert words_of("ay" * 50_000) == words_of("ay" * 32)
    assert query_words("river " * 10_000) == query_words(("river " * 667)[:4_000])
