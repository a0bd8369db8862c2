"""Vector stores, which find the nearest vectors.

`vector_stores["default"]` is the configured backend; see `BackendHandler`.
"""

from __future__ import annotations

from django_obc_ai.backends.handler import BackendHandler
from django_obc_ai.backends.vector_stores.base import BaseVectorStore

vector_stores: BackendHandler[BaseVectorStore] = BackendHandler(
    "VECTOR_STORES", "django_obc_ai.backends.vector_stores.base.BaseVectorStore"
)

__all__ = ["BaseVectorStore", "vector_stores"]
