"""Small backends that tests name in ``OBC_AI`` by dotted path."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from django.core.checks import CheckMessage, Error, Warning
from django.db import connection

from django_obc_ai.backends.embedders import BaseEmbedder
from django_obc_ai.backends.embedders.hashing import HashingEmbedder
from django_obc_ai.backends.providers import BaseProvider
from django_obc_ai.backends.vector_stores.numpy import NumpyVectorStore
from django_obc_ai.types import (
    EmbeddingRequest,
    EmbeddingResponse,
    GenerationRequest,
    ProviderResponse,
    Usage,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

KEY = "sk-fake-0123456789abcdef"


def entry(backend: type | str, **options: Any) -> dict[str, Any]:
    """Return a family of one backend, as it stands in ``OBC_AI``."""
    path = backend if isinstance(backend, str) else f"{backend.__module__}.{backend.__qualname__}"
    return {"default": {"BACKEND": path, "OPTIONS": options}}


class CountedEmbedder(HashingEmbedder):
    """Counts its instances and those that were closed."""

    made: ClassVar[int] = 0
    closed: ClassVar[int] = 0
    _count = threading.Lock()

    def __init__(self) -> None:
        super().__init__()
        threading.Event().wait(0.02)  # long enough for the other threads to come in between
        with self._count:
            type(self).made += 1

    def close(self) -> None:
        type(self).closed += 1


class TinyEmbedder(BaseEmbedder):
    """Another embedder than the default one: counts letters, learns nothing."""

    @property
    def identity(self) -> str:
        return "letters-v1"

    @property
    def dimension(self) -> int:
        return 26

    def embed_documents(self, texts: Sequence[str], *, state: bytes = b"") -> NDArray[np.float32]:
        vectors = np.zeros((len(texts), 26), dtype=np.float32)
        for row, text in enumerate(texts):
            for letter in text.lower():
                if "a" <= letter <= "z":
                    vectors[row, ord(letter) - ord("a")] += 1
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.divide(vectors, lengths, out=vectors, where=lengths > 0)


class KeyedProvider(BaseProvider):
    """Needs an API key, costs money and must not be asked."""

    requires_api_key: ClassVar[bool] = True

    def __init__(self, *, api_key: str, model: str = "fake-1") -> None:
        self._api_key = api_key
        self.model = model

    def generate(self, request: GenerationRequest) -> ProviderResponse:
        raise AssertionError("the provider was called")

    def count_tokens(self, request: GenerationRequest) -> int:
        raise AssertionError("the provider was called")


class WatchedProvider(BaseProvider):
    """Embeds at a price, and notes in what state the database is meanwhile."""

    supports_embedding: ClassVar[bool] = True
    embedding_batch_size: ClassVar[int] = 2
    fault: ClassVar[str] = ""
    in_transaction: ClassVar[list[bool]] = []

    def __init__(self, *, model: str = "") -> None:
        self.model = model

    def generate(self, request: Any) -> Any:
        raise AssertionError("nothing is generated here")

    def count_tokens(self, request: Any) -> int:
        return 1

    def embed(self, request: EmbeddingRequest) -> EmbeddingResponse:
        self.in_transaction.append(connection.in_atomic_block)
        rows = len(request.texts)
        if self.fault == "bug":
            raise KeyError("secret text")
        shape = {"merged": (1, 4), "short": (rows, 3)}.get(self.fault, (rows, 4))
        vectors = np.full(shape, 2, dtype=np.float32)
        return EmbeddingResponse(vectors=vectors, usage=Usage(input_tokens=10), model="words")


class TellingProvider(KeyedProvider):
    """Refuses its key and tells everybody what it was."""

    def __init__(self, *, api_key: str) -> None:
        raise ValueError(f"the key {api_key!r} is malformed")


class FussyProvider(KeyedProvider):
    """Finds a small fault and a large one in itself."""

    def check(self, setting: str) -> list[CheckMessage]:
        return [
            Warning(f"{setting} is slow.", id="fussy.W001"),
            Error(f"{setting} is broken.", hint="Mend it.", id="fussy.E001"),
        ]


class AbsentStore(NumpyVectorStore):
    """Needs a package that nobody has, brought by an extra."""

    extra: ClassVar[str] = "absent"
    sdk_module: ClassVar[str] = "obc_ai_no_such_sdk"


class NestedAbsentStore(NumpyVectorStore):
    """Needs a module of a missing package, which no extra brings."""

    sdk_module: ClassVar[str] = "obc_ai_no_such_sdk.deep.module"


class FolderStore(NumpyVectorStore):
    """Says that it writes to a folder."""

    def __init__(self, *, path: str) -> None:
        super().__init__()
        self.path = path


class NoBackend:
    """A class of no family."""
