"""The vectors of search texts, embedded together, and each once for as long as it is remembered."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from django_obc_ai.indexes import VectorIndex
from django_obc_ai.indexes.replica import Replica
from django_obc_ai.services.embeddings import EmbeddingService

#: Texts whose vectors a process remembers: some megabytes.
_REMEMBERED = 1_000


class _Recent:
    """The last vectors: page two asks for what page one did, and many ask for the same.

    A generation never changes its embedder nor what that has learned, so a vector is right for
    as long as the generation is. No text is kept, only its hash.
    """

    def __init__(self) -> None:
        self._vectors: OrderedDict[tuple[UUID, bytes], NDArray[np.float32]] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, generation: UUID, texts: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Return those that are remembered."""
        found = {}
        with self._lock:
            for text in texts:
                key = generation, _digest(text)
                if key in self._vectors:
                    self._vectors.move_to_end(key)
                    found[text] = self._vectors[key]
        return found

    def keep(self, generation: UUID, vectors: dict[str, NDArray[np.float32]]) -> None:
        """Remember vectors, and forget those that were asked for the longest ago."""
        with self._lock:
            for text, vector in vectors.items():
                self._vectors[generation, _digest(text)] = vector
            while len(self._vectors) > _REMEMBERED:
                self._vectors.popitem(last=False)


_recent = _Recent()


class QueryVectors:
    """Embeds search texts when the first of them is needed: all together, equal ones once."""

    def __init__(self, declared: VectorIndex, queries: Sequence[str], user: Any) -> None:
        """Take the texts of one call, and who asks."""
        self._service = EmbeddingService(declared.embedder)
        self._texts = list(dict.fromkeys(queries))
        self._user = user
        self._generation: UUID | None = None
        self._vectors: dict[str, NDArray[np.float32]] = {}

    def of(self, query: str) -> Callable[[Replica], NDArray[np.float32]]:
        """Return a function that returns one text's vector (1, d) for a replica."""

        def row(replica: Replica) -> NDArray[np.float32]:
            # What an embedder has learned belongs to a generation, and so do its vectors.
            if self._generation != replica.generation.id:
                self._vectors = self._embedded(replica)
                self._generation = replica.generation.id
            return self._vectors[query][None, :]

        return row

    def _embedded(self, replica: Replica) -> dict[str, NDArray[np.float32]]:
        generation = replica.generation
        # Every request of a paid embedder is in the ledger, those that its cache answers, too.
        is_free = self._service.request_size is None
        found = _recent.find(generation.id, self._texts) if is_free else {}
        missing = [text for text in self._texts if text not in found]
        if not missing:
            return found
        state, user = generation.fitted_state, self._user
        rows = self._service.embed_queries(missing, state=state, user=user)
        new = {text: row.copy() for text, row in zip(missing, rows, strict=True)}
        if is_free:
            _recent.keep(generation.id, new)
        return {**found, **new}


def _digest(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
