"""Turning texts into vectors with a configured embedder, checked before use."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from django_obc_ai.backends.embedders import PaidEmbedder, embedders
from django_obc_ai.backends.embedders._batches import clean, embed_in_batches
from django_obc_ai.backends.providers import providers
from django_obc_ai.exceptions import BadResponseError
from django_obc_ai.gateway import embed as gateway
from django_obc_ai.services.text import scope_of
from django_obc_ai.telemetry import Span, spanning
from django_obc_ai.types import CallInfo, EmbeddingPurpose


class EmbeddingService:
    """Embed documents and queries with one embedder of ``OBC_AI["EMBEDDERS"]``."""

    def __init__(self, alias: str = "default") -> None:
        """Choose the embedder."""
        self.alias = alias

    @property
    def identity(self) -> str:
        """Return the embedder's identity; it pins the indexes built with it."""
        return embedders[self.alias].identity

    @property
    def dimension(self) -> int:
        """Return the number of components of a vector."""
        return embedders[self.alias].dimension

    @property
    def is_fitted(self) -> bool:
        """Return whether the embedder learns from the corpus."""
        return embedders[self.alias].is_fitted

    @property
    def request_size(self) -> int | None:
        """Return how many texts one paid request takes; None where nothing is paid."""
        embedder = embedders[self.alias]
        if not isinstance(embedder, PaidEmbedder):
            return None
        return providers[embedder.provider].embedding_batch_size

    @property
    def search_mode(self) -> str:
        """Return how indexes with this embedder are searched unless they say; "hybrid" mostly."""
        return embedders[self.alias].search_mode

    @property
    def minimum_similarity(self) -> float:
        """Return the cosine similarity below which results are noise."""
        return embedders[self.alias].minimum_similarity

    def fit(self, texts: Iterable[str]) -> bytes:
        """Return what the embedder learns from a whole corpus; b"" if it learns nothing."""
        embedder = embedders[self.alias]
        return embedder.fit(texts) if embedder.is_fitted else b""

    def embed_documents(
        self, texts: Sequence[str], *, state: bytes = b"", user: Any = None
    ) -> NDArray[np.float32]:
        """Return one vector per text, in order: (n, d) float32, unit length or zero.

        A paid embedder makes one priced and logged call for each batch of its provider,
        `request_size` texts; if one fails, those before it are paid for and their vectors are
        lost: whoever has many texts gives so many at a time.

        Args:
            texts: n texts.
            state: What `fit` returned when the index was built.
            user: Who is charged by a paid embedder; None leaves its calls unattributed.

        Raises:
            BadResponseError: The embedder returned another number or shape of vectors,
                or values that are not finite; nothing may be stored then.
            ObcAIError: A paid embedder's call failed.
        """
        embedder = embedders[self.alias]
        if isinstance(embedder, PaidEmbedder):
            found = self._buy(embedder, texts, purpose="document", user=user)
        else:
            with self._in_process(texts):
                found = embedder.embed_documents(texts, state=state)
        return self._checked(found, len(texts))

    def embed_queries(
        self, texts: Sequence[str], *, state: bytes = b"", user: Any = None
    ) -> NDArray[np.float32]:
        """Return one vector per search text; see embed_documents().

        A single query of a paid embedder may be answered by the response cache, free of charge.
        """
        embedder = embedders[self.alias]
        if isinstance(embedder, PaidEmbedder):
            found = self._buy(embedder, texts, purpose="query", user=user)
        else:
            with self._in_process(texts):
                found = embedder.embed_queries(texts, state=state)
        return self._checked(found, len(texts))

    def _in_process(self, texts: Sequence[str]) -> AbstractContextManager[Span]:
        """Cover what costs nothing by a span; what is paid for has one from the gateway."""
        return spanning(
            f"embeddings {self.alias}",
            {
                "gen_ai.operation.name": "embeddings",
                "gen_ai.provider.name": "obc_ai.in_process",
                "obc_ai.embedder": self.alias,
                "obc_ai.embeddings.texts": len(texts),
            },
        )

    def _buy(
        self, embedder: PaidEmbedder, texts: Sequence[str], *, purpose: EmbeddingPurpose, user: Any
    ) -> NDArray[np.float32]:
        """Send the embedder's requests through the gateway, one for each batch."""
        scope = scope_of(user)
        is_single = purpose == "query" and len(texts) == 1

        def send(batch: list[str]) -> NDArray[np.float32]:
            info = CallInfo(
                operation_id=uuid.uuid4(),
                provider=embedder.provider,
                operation_type="embedding",
                content_type="static",
                user_id=getattr(user, "pk", None),  # AnonymousUser has none
                scope=scope,
                use_cache=is_single,
            )
            response = gateway.embed(embedder.build_request(batch, purpose=purpose), info)
            return embedder.read_response(response)

        return embed_in_batches(
            [clean(text) for text in texts],
            send,
            dimension=embedder.dimension,
            batch_size=providers[embedder.provider].embedding_batch_size,
        )

    def _checked(self, vectors: NDArray[np.float32], count: int) -> NDArray[np.float32]:
        wanted = (count, self.dimension)
        if vectors.shape != wanted or vectors.dtype != np.float32:
            raise BadResponseError(
                f"The embedder {self.alias!r} returned {vectors.shape} {vectors.dtype},"
                f" not {wanted} float32."
            )
        if not np.isfinite(vectors).all():
            raise BadResponseError(
                f"The embedder {self.alias!r} returned values that are no numbers."
            )
        return vectors
