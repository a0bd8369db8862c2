"""The part of the provider's contract that is about embeddings."""

from __future__ import annotations

import unittest
from typing import TYPE_CHECKING, ClassVar

from django_obc_ai.backends.providers.base import BaseProvider
from django_obc_ai.exceptions import InvalidRequestError
from django_obc_ai.types import EmbeddingRequest

if TYPE_CHECKING:
    _Case = unittest.TestCase
else:
    _Case = object


class EmbeddingContract(_Case):
    """What a provider does when it is asked to embed, or says that it does not.

    Attributes:
        embedding_model: The model asked to embed; "" is the provider's own.
    """

    embedding_model: ClassVar[str] = ""

    def make_provider(self) -> BaseProvider:
        """Return a fresh provider that can answer any number of requests."""
        raise NotImplementedError

    def test_texts_are_embedded_in_order_or_refused(self) -> None:
        provider = self.make_provider()
        texts = ("Barangay Poblacion", "Niño 🌾", "مرحبا")
        too_many = ("text",) * (provider.embedding_batch_size + 1)
        wrong = [too_many, (), ("text", " ")] if provider.supports_embedding else [texts]
        for refused in wrong:
            with self.assertRaises(InvalidRequestError):
                provider.embed(self._embedding(refused))
        if not provider.supports_embedding:
            return
        response = provider.embed(self._embedding(texts))
        self.assertEqual(response.vectors.dtype.name, "float32")
        self.assertEqual(response.vectors.shape[0], len(texts))
        self.assertTrue(response.model)
        for row, text in zip(response.vectors, texts, strict=True):
            self.assertAlmostEqual(float(row @ row), 1.0, places=3)
            alone = provider.embed(self._embedding((text,))).vectors[0]
            self.assertGreater(float(row @ alone), 0.99)

    def _embedding(self, texts: tuple[str, ...]) -> EmbeddingRequest:
        return EmbeddingRequest(texts=texts, model=self.embedding_model)
