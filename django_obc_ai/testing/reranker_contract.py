"""The contract suite of rerankers.

Mix it into a ``unittest.TestCase`` (or a Django one) and say how to make the backend.
"""

from __future__ import annotations

import unittest
from typing import TYPE_CHECKING

import numpy as np

from django_obc_ai.backends.rerankers.base import BaseReranker

if TYPE_CHECKING:
    _Case = unittest.TestCase
else:
    _Case = object

_QUERY = "river market"
_TEXTS = ["a river market", "the coast", "market day", "", "river " * 400]


class RerankerContract(_Case):
    """What every reranker must do."""

    def make_reranker(self) -> BaseReranker:
        """Return a reranker."""
        raise NotImplementedError

    def test_there_is_one_finite_score_for_each_text(self) -> None:
        reranker = self.make_reranker()
        for count in (1, len(_TEXTS)):
            scores = reranker.rerank(_QUERY, _TEXTS[:count])
            self.assertEqual((scores.shape, scores.dtype), ((count,), np.float32))
            self.assertTrue(np.isfinite(scores).all())
        self.assertGreaterEqual(reranker.candidates, 1)

    def test_a_text_that_says_it_all_scores_higher_than_one_that_says_nothing(self) -> None:
        scores = self.make_reranker().rerank(_QUERY, _TEXTS)
        self.assertGreater(scores[0], scores[1])

    def test_a_score_does_not_depend_on_the_other_texts(self) -> None:
        reranker = self.make_reranker()
        together = reranker.rerank(_QUERY, _TEXTS)
        backwards = reranker.rerank(_QUERY, _TEXTS[::-1])
        np.testing.assert_allclose(together, backwards[::-1], rtol=1e-4, atol=1e-5)
        alone = [float(reranker.rerank(_QUERY, [text])[0]) for text in _TEXTS]
        np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)

    def test_any_query_is_taken(self) -> None:
        for query in ("", "\x00", "?!", "x" * 10_000):
            self.assertEqual(self.make_reranker().rerank(query, ["river"]).shape, (1,))
