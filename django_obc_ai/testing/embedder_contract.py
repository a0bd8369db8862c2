"""The contract suite of embedders.

Mix it into a ``unittest.TestCase`` (or a Django one) and say how to make the backend.
"""

from __future__ import annotations

import unicodedata
import unittest
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from django_obc_ai.backends.embedders.base import BaseEmbedder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    _Case = unittest.TestCase
else:
    _Case = object

_TEXTS = [
    "Barangay Poblacion, Marawi City",
    "Lungsod ng Cotabato, pamilihan",
    "مرحبا",
    "",
    "🌾 rice",
]


class EmbedderContract(_Case):
    """What every embedder must do."""

    def make_embedder(self) -> BaseEmbedder:
        """Return a fresh embedder."""
        raise NotImplementedError

    def _embed(self, texts: Sequence[str], state: bytes = b"") -> NDArray[np.float32]:
        return self.make_embedder().embed_documents(texts, state=state)

    def test_vectors_have_the_declared_shape_and_type(self) -> None:
        for vectors in (self._embed(_TEXTS), self.make_embedder().embed_queries(_TEXTS)):
            self.assertEqual(vectors.shape, (len(_TEXTS), self.make_embedder().dimension))
            self.assertEqual(vectors.dtype, np.float32)

    def test_rows_have_unit_length_or_are_zero_for_empty_text(self) -> None:
        lengths = np.linalg.norm(self._embed(_TEXTS), axis=1)
        for text, length in zip(_TEXTS, lengths, strict=True):
            wanted = 1.0 if text else 0.0
            self.assertAlmostEqual(float(length), wanted, places=4, msg=text)

    def test_no_texts_give_no_rows(self) -> None:
        self.assertEqual(self._embed([]).shape, (0, self.make_embedder().dimension))

    def test_a_text_gets_the_same_vector_alone_and_in_a_batch(self) -> None:
        batch = self._embed(_TEXTS)
        for row, text in enumerate(_TEXTS):
            np.testing.assert_allclose(self._embed([text])[0], batch[row], atol=1e-5)

    def test_order_is_kept(self) -> None:
        np.testing.assert_allclose(self._embed(_TEXTS[::-1]), self._embed(_TEXTS)[::-1], atol=1e-5)

    def test_earlier_results_are_not_overwritten(self) -> None:
        embedder = self.make_embedder()
        first = embedder.embed_documents(_TEXTS)
        kept = first.copy()
        embedder.embed_documents(_TEXTS[::-1])
        np.testing.assert_array_equal(first, kept)

    def test_a_text_is_nearer_to_itself_than_to_others(self) -> None:
        vectors = self._embed(["coastal fishing village", "mountain coffee farm"])
        self.assertGreater(float(vectors[0] @ vectors[0]), float(vectors[0] @ vectors[1]))

    def test_tokens_are_counted_for_each_text_and_are_no_more_than_bytes(self) -> None:
        embedder = self.make_embedder()
        self.assertEqual(embedder.count_tokens([]), [])
        self.assertEqual(embedder.count_tokens(["", " "]), [0, 0])
        counts = embedder.count_tokens(_TEXTS)
        self.assertEqual(counts, [embedder.count_tokens([text])[0] for text in _TEXTS])
        for text, found in zip(_TEXTS, counts, strict=True):
            size = len(unicodedata.normalize("NFKD", text).encode())
            self.assertLessEqual(found, size + 1, msg=text)
        self.assertGreater(counts[0], 2)
        most = embedder.max_tokens
        self.assertTrue(most is None or most > 0)

    def test_fitted_state_is_accepted_and_stable(self) -> None:
        state = self.make_embedder().fit(iter(_TEXTS))
        self.assertIsInstance(state, bytes)
        np.testing.assert_array_equal(self._embed(_TEXTS, state), self._embed(_TEXTS, state))

    def test_identity_is_stable_and_short(self) -> None:
        identity = self.make_embedder().identity
        self.assertEqual(identity, self.make_embedder().identity)
        self.assertLessEqual(len(identity), 120)

    def test_many_threads_get_the_same_vectors(self) -> None:
        embedder = self.make_embedder()
        alone = embedder.embed_documents(_TEXTS)
        with ThreadPoolExecutor(8) as pool:
            for found in pool.map(lambda _: embedder.embed_documents(_TEXTS), range(16)):
                np.testing.assert_allclose(found, alone, atol=1e-5)
