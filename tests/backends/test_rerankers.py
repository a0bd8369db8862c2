"""The reference reranker passes the contract, and the contract finds faults."""

from __future__ import annotations

import unittest
from typing import Any

import numpy as np
import pytest

from django_obc_ai.backends.rerankers import BaseReranker
from django_obc_ai.backends.rerankers.overlap import OverlapReranker
from django_obc_ai.testing import RerankerContract


class TestOverlap(RerankerContract, unittest.TestCase):
    def make_reranker(self) -> BaseReranker:
        return OverlapReranker()


class Ranks(OverlapReranker):
    """Scores by the place among the texts that were given."""

    def rerank(self, query: str, texts: Any) -> Any:
        order = np.argsort(np.argsort(super().rerank(query, texts), kind="stable"))
        return order.astype(np.float32)


class Doubles(OverlapReranker):
    def rerank(self, query: str, texts: Any) -> Any:
        return super().rerank(query, texts).astype(np.float64)


class Backwards(OverlapReranker):
    def rerank(self, query: str, texts: Any) -> Any:
        return -super().rerank(query, texts)


@pytest.mark.parametrize(
    ("backend", "found_by"),
    [
        (Ranks, "test_a_score_does_not_depend_on_the_other_texts"),
        (Doubles, "test_there_is_one_finite_score_for_each_text"),
        (Backwards, "test_a_text_that_says_it_all_scores_higher_than_one_that_says_nothing"),
    ],
)
def test_a_broken_reranker_fails_its_suite(backend: type, found_by: str) -> None:
    class Suite(RerankerContract, unittest.TestCase):
        def make_reranker(self) -> BaseReranker:
            return backend()  # type: ignore[no-any-return]

    outcome = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(Suite).run(outcome)
    assert found_by in {each.id().rpartition(".")[2] for each, _ in outcome.failures}


def test_candidates_are_at_least_one() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        OverlapReranker(candidates=0)
