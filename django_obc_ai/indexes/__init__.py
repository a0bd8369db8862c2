"""Search indexes over a project's own models, declared in ``ai_indexes.py``."""

from __future__ import annotations

from django_obc_ai.indexes.base import VectorIndex
from django_obc_ai.indexes.registry import get_index, get_indexes, register

__all__ = ["VectorIndex", "get_index", "get_indexes", "register"]
