"""Rerankers, which read the best results again and put them in order.

`rerankers["name"]` is a configured backend; see `BackendHandler`. There is no default.
"""

from __future__ import annotations

from django_obc_ai.backends.handler import BackendHandler
from django_obc_ai.backends.rerankers.base import BaseReranker

rerankers: BackendHandler[BaseReranker] = BackendHandler(
    "RERANKERS", "django_obc_ai.backends.rerankers.base.BaseReranker"
)

__all__ = ["BaseReranker", "rerankers"]
