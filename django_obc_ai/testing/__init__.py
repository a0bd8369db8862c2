"""Helpers for the tests of projects that use django-obc-ai, and of backends.

`override_ai` replaces what costs money or leaves the process; `index_now` stands in for
the commit that a ``TestCase`` never makes; the ``…Contract`` mixins are what a backend
of each family must pass.
"""

from __future__ import annotations

from django_obc_ai.testing.cost_store_contract import CostStoreContract
from django_obc_ai.testing.embedder_contract import EmbedderContract
from django_obc_ai.testing.overrides import index_now, load_vectors, override_ai
from django_obc_ai.testing.provider import CutStream, Reply, ScriptedProvider
from django_obc_ai.testing.provider_contract import ProviderContract
from django_obc_ai.testing.vector_store_contract import VectorStoreContract

__all__ = [
    "CostStoreContract",
    "CutStream",
    "EmbedderContract",
    "ProviderContract",
    "Reply",
    "ScriptedProvider",
    "VectorStoreContract",
    "index_now",
    "load_vectors",
    "override_ai",
]
