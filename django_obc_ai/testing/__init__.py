"""Helpers for the tests of projects that use django-obc-ai, and of backends.

`override_ai` replaces what costs money or leaves the process; `index_now` stands in for
the commit that a ``TestCase`` never makes; a `Cassette` replays what a real provider has
answered; ``assert_…`` look at what was asked, and `block_network` keeps a test off it; the
``…Contract`` mixins are what a backend of each family must pass. `search_documents` measures what
a search finds in a collection of one's own.
"""

from __future__ import annotations

from django_obc_ai.testing.assertions import (
    assert_ai_calls,
    assert_cost_below,
    assert_no_prompt_contains,
)
from django_obc_ai.testing.cassettes import Cassette, CassetteError
from django_obc_ai.testing.collections import search_documents
from django_obc_ai.testing.cost_store_contract import CostStoreContract
from django_obc_ai.testing.embedder_contract import EmbedderContract
from django_obc_ai.testing.flight_contract import FlightContract
from django_obc_ai.testing.gate_contract import GateContract
from django_obc_ai.testing.lexical_store_contract import LexicalStoreContract
from django_obc_ai.testing.network import NetworkBlockedError, block_network
from django_obc_ai.testing.overrides import index_now, load_vectors, override_ai
from django_obc_ai.testing.provider import CutStream, Reply, ScriptedProvider
from django_obc_ai.testing.provider_contract import ProviderContract
from django_obc_ai.testing.reranker_contract import RerankerContract
from django_obc_ai.testing.task_runner_contract import TaskRunnerContract
from django_obc_ai.testing.vector_store_contract import VectorStoreContract

__all__ = [
    "Cassette",
    "CassetteError",
    "CostStoreContract",
    "CutStream",
    "EmbedderContract",
    "FlightContract",
    "GateContract",
    "LexicalStoreContract",
    "NetworkBlockedError",
    "ProviderContract",
    "Reply",
    "RerankerContract",
    "ScriptedProvider",
    "TaskRunnerContract",
    "VectorStoreContract",
    "assert_ai_calls",
    "assert_cost_below",
    "assert_no_prompt_contains",
    "block_network",
    "index_now",
    "load_vectors",
    "override_ai",
    "search_documents",
]
