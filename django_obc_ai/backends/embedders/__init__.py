"""Embedders, which turn texts into vectors.

`embedders["default"]` is the configured backend; see `BackendHandler`.
"""

from __future__ import annotations

from django_obc_ai.backends.embedders.base import BaseEmbedder, PaidEmbedder
from django_obc_ai.backends.handler import BackendHandler

embedders: BackendHandler[BaseEmbedder] = BackendHandler(
    "EMBEDDERS", "django_obc_ai.backends.embedders.base.BaseEmbedder"
)

__all__ = ["BaseEmbedder", "PaidEmbedder", "embedders"]
