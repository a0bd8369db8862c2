"""What an embedder returns is checked before anything is stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from django_obc_ai.backends.embedders import BaseEmbedder
from django_obc_ai.exceptions import BadResponseError
from django_obc_ai.services.embeddings import EmbeddingService
from django_obc_ai.testing import override_ai


class FaultyEmbedder(BaseEmbedder):
    """Returns what its option says."""

    identity = "faulty"
    dimension = 3

    def __init__(self, *, fault: str) -> None:
        self.fault = fault

    def embed_documents(self, texts: Sequence[str], *, state: bytes = b"") -> Any:
        vectors = np.ones((len(texts), 3), dtype=np.float32)
        return {
            "count": vectors[1:],
            "dimension": vectors[:, :2],
            "type": vectors.astype(np.float64),
            "nan": vectors * np.float32("nan"),
        }[self.fault]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("count", r"returned \(1, 3\) float32, not \(2, 3\) float32"),
        ("dimension", r"returned \(2, 2\) float32"),
        ("type", "float64"),
        ("nan", "no numbers"),
    ],
)
def test_a_faulty_answer_of_the_embedder_is_refused(fault: str, message: str) -> None:
    embedders = {"default": {"BACKEND": f"{__name__}.FaultyEmbedder", "OPTIONS": {"fault": fault}}}
    with override_ai(EMBEDDERS=embedders):
        for embed in (EmbeddingService().embed_documents, EmbeddingService().embed_queries):
            with pytest.raises(BadResponseError, match=message):
                embed(["one", "two"])


def test_an_embedder_that_learns_nothing_has_no_state() -> None:
    embedders = {"default": {"BACKEND": f"{__name__}.FaultyEmbedder", "OPTIONS": {"fault": "nan"}}}
    with override_ai(EMBEDDERS=embedders):
        assert EmbeddingService().fit(["one"]) == b""
