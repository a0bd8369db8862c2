"""Vector stores with faults that the contract suite finds; more are in test_contracts_bite.py."""

from __future__ import annotations

from typing import Any

import pytest

from django_obc_ai.backends.vector_stores.numpy import NumpyVectorStore
from django_obc_ai.testing import VectorStoreContract
from django_obc_ai.types import SearchHit
from tests.test_contracts_bite import failures


class KeepsHalfAReset(NumpyVectorStore):
    def reset(self, index: str, *, batches: Any, **rest: Any) -> None:
        read: list[Any] = []
        try:
            read.extend(batches)  # keeps what came before the error
        finally:
            super().reset(index, batches=read, **rest)


class TakesListsOnly(NumpyVectorStore):
    def search(
        self, index: str, vectors: Any, k: int, allowed_ids: Any = None
    ) -> list[list[SearchHit]]:
        allowed = list(allowed_ids)[:1_000] if isinstance(allowed_ids, list) else None
        return super().search(index, vectors, k, allowed)


class TiesByPlace(NumpyVectorStore):
    def search(self, index: str, *args: Any) -> list[list[SearchHit]]:
        found = super().search(index, *args)
        return [hits if len(hits) < 100 else [*hits[1:], hits[0]] for hits in found]


class ClaimsToPersist(NumpyVectorStore):
    is_persistent = True
    path = "nowhere"

    def __init__(self, path: str = "") -> None:
        super().__init__()


@pytest.mark.parametrize(
    ("backend", "found_by"),
    [
        (KeepsHalfAReset, "test_a_reset_that_fails_midway_changes_nothing"),
        (TakesListsOnly, "test_allowed_ids_may_come_in_any_form"),
        (TiesByPlace, "test_equal_vectors_tie_wherever_they_are"),
        (ClaimsToPersist, "test_what_is_on_disk_comes_back_and_nothing_else"),
    ],
)
def test_a_broken_vector_store_fails_its_suite(backend: type, found_by: str) -> None:
    assert found_by in failures(VectorStoreContract, "make_store", backend)
