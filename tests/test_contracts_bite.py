"""The contract suites find the faults that matter: each broken backend here fails its suite."""

from __future__ import annotations

import threading
import unittest
import uuid
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from django_obc_ai.backends.cost_stores.memory import MemoryCostStore
from django_obc_ai.backends.embedders.hashing import HashingEmbedder
from django_obc_ai.backends.vector_stores.numpy import NumpyVectorStore
from django_obc_ai.testing import CostStoreContract, EmbedderContract, VectorStoreContract
from django_obc_ai.types import (
    SearchHit,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray


def failures(contract: type, make: str, backend: type) -> set[str]:
    """Run a whole suite on a backend and return the names of the tests that failed."""
    case = type("Case", (contract, unittest.TestCase), {make: lambda self: backend()})
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(case)
    outcome = unittest.TestResult()
    suite.run(outcome)
    assert outcome.testsRun > 8
    return {test.id().rpartition(".")[2] for test, _ in outcome.failures + outcome.errors}


# --- embedders ---------------------------------------------------------------------------------
class Reordering(HashingEmbedder):
    def embed_documents(self, texts: Sequence[str], *, state: bytes = b"") -> NDArray[np.float32]:
        order = sorted(range(len(texts)), key=lambda row: texts[row])
        return super().embed_documents([texts[row] for row in order], state=state)


class Unnormalised(HashingEmbedder):
    def embed_documents(self, texts: Sequence[str], *, state: bytes = b"") -> NDArray[np.float32]:
        return super().embed_documents(texts, state=state) * np.float32(1.5)


class Doubles(HashingEmbedder):
    def embed_documents(self, texts: Sequence[str], *, state: bytes = b"") -> NDArray[Any]:
        return super().embed_documents(texts, state=state).astype(np.float64)


class Shorter(HashingEmbedder):
    def embed_documents(self, texts: Sequence[str], *, state: bytes = b"") -> NDArray[np.float32]:
        return super().embed_documents([text for text in texts if text], state=state)


class Padded(HashingEmbedder):
    """As models do whose pooling forgets the attention mask: a text depends on its batch."""

    def embed_documents(self, texts: Sequence[str], *, state: bytes = b"") -> NDArray[np.float32]:
        width = max(map(len, texts), default=0)
        padded = [text and text + " pad" * (width - len(text)) for text in texts]
        return super().embed_documents(padded, state=state)


class Constant(HashingEmbedder):
    def embed_documents(self, texts: Sequence[str], *, state: bytes = b"") -> NDArray[np.float32]:
        return super().embed_documents(["same" if text else "" for text in texts], state=state)


class NamedByChance(HashingEmbedder):
    @property
    def identity(self) -> str:
        return f"hashing/{uuid.uuid4()}"


class TextState(HashingEmbedder):
    def fit(self, texts: Iterable[str]) -> Any:
        return super().fit(texts).hex()


class SharedBuffer(HashingEmbedder):
    """Hands out one array that the next call overwrites."""

    _buffer = np.zeros((16, 1_024), dtype=np.float32)

    def embed_documents(self, texts: Sequence[str], *, state: bytes = b"") -> NDArray[np.float32]:
        self._buffer[: len(texts)] = super().embed_documents(texts, state=state)
        return self._buffer[: len(texts)]


@pytest.mark.parametrize(
    ("backend", "found_by"),
    [
        (Reordering, "test_order_is_kept"),
        (Unnormalised, "test_rows_have_unit_length_or_are_zero_for_empty_text"),
        (Doubles, "test_vectors_have_the_declared_shape_and_type"),
        (Shorter, "test_vectors_have_the_declared_shape_and_type"),
        (Padded, "test_a_text_gets_the_same_vector_alone_and_in_a_batch"),
        (Constant, "test_a_text_is_nearer_to_itself_than_to_others"),
        (NamedByChance, "test_identity_is_stable_and_short"),
        (TextState, "test_fitted_state_is_accepted_and_stable"),
        (SharedBuffer, "test_earlier_results_are_not_overwritten"),
    ],
)
def test_a_broken_embedder_fails_its_suite(backend: type, found_by: str) -> None:
    assert found_by in failures(EmbedderContract, "make_embedder", backend)


# --- vector stores -----------------------------------------------------------------------------
class IgnoresAllowed(NumpyVectorStore):
    def search(
        self, index: str, vectors: Any, k: int, allowed_ids: Any = None
    ) -> list[list[SearchHit]]:
        return super().search(index, vectors, k)


class FiltersTooLate(NumpyVectorStore):
    def search(
        self, index: str, vectors: Any, k: int, allowed_ids: Any = None
    ) -> list[list[SearchHit]]:
        found = super().search(index, vectors, k)
        if allowed_ids is None:
            return found
        return [[hit for hit in hits if hit.id in set(allowed_ids)] for hits in found]


class Distances(NumpyVectorStore):
    """Returns squared distances, as FAISS's L2 indexes do."""

    def search(
        self, index: str, vectors: Any, k: int, allowed_ids: Any = None
    ) -> list[list[SearchHit]]:
        found = super().search(index, vectors, k, allowed_ids)
        return [[SearchHit(id=h.id, score=2 - 2 * h.score) for h in hits] for hits in found]


class FallingTies(NumpyVectorStore):
    def search(
        self, index: str, vectors: Any, k: int, allowed_ids: Any = None
    ) -> list[list[SearchHit]]:
        found = super().search(index, vectors, 10**6, allowed_ids)
        return [sorted(hits, key=lambda h: (-h.score, -h.id))[:k] for hits in found]


class KeepsRemoved(NumpyVectorStore):
    def apply(self, index: str, *, removed: Any, **rest: Any) -> None:
        super().apply(index, removed=[], **rest)


class InTwoSteps(NumpyVectorStore):
    def apply(self, index: str, *, ids: Any, vectors: Any, removed: Any, state: Any) -> None:
        super().apply(index, ids=ids[:0], vectors=vectors[:0], removed=removed, state=state)
        threading.Event().wait(0.001)
        super().apply(index, ids=ids, vectors=vectors, removed=removed, state=state)


class ForgetsVersion(NumpyVectorStore):
    def apply(self, index: str, *, state: Any, **rest: Any) -> None:
        super().apply(index, state=self.state(index) or state, **rest)


class OneForAll(NumpyVectorStore):
    def state(self, index: str) -> Any:
        return super().state("one")

    def reset(self, index: str, **rest: Any) -> None:
        super().reset("one", **rest)

    def apply(self, index: str, **rest: Any) -> None:
        super().apply("one", **rest)

    def search(self, index: str, *args: Any) -> list[list[SearchHit]]:
        return super().search("one", *args)

    def count(self, index: str) -> int:
        return super().count("one")

    def drop(self, index: str) -> None:
        super().drop("one")


class DropsBeforeReset(NumpyVectorStore):
    def reset(self, index: str, **rest: Any) -> None:
        self.drop(index)
        super().reset(index, **rest)


class SearchesNothingUnknown(NumpyVectorStore):
    def search(self, index: str, vectors: Any, *args: Any) -> list[list[SearchHit]]:
        return super().search(index, vectors, *args) if self.state(index) else [[]] * len(vectors)


class FailsBesideChanges(NumpyVectorStore):
    """Its search breaks now and then once something has been applied."""

    def search(self, index: str, vectors: Any, k: int, *args: Any) -> list[list[SearchHit]]:
        if k == 1_000:
            raise RuntimeError("dictionary changed size during iteration")
        return super().search(index, vectors, k, *args)


class CannotApply(NumpyVectorStore):
    def apply(self, index: str, **rest: Any) -> None:
        raise RuntimeError("disk full")


@pytest.mark.parametrize(
    ("backend", "found_by"),
    [
        (IgnoresAllowed, "test_only_allowed_ids_are_found"),
        (FiltersTooLate, "test_only_allowed_ids_are_found"),
        (Distances, "test_scores_are_true_cosines"),
        (FallingTies, "test_ties_go_by_rising_id"),
        (KeepsRemoved, "test_added_removed_and_replaced_chunks"),
        (InTwoSteps, "test_searches_beside_changes_are_never_torn"),
        (ForgetsVersion, "test_added_removed_and_replaced_chunks"),
        (OneForAll, "test_indexes_do_not_mix_and_can_be_dropped"),
        (DropsBeforeReset, "test_another_dimension_is_refused_and_changes_nothing"),
        (SearchesNothingUnknown, "test_an_index_that_is_not_held_is_named"),
        (FailsBesideChanges, "test_searches_beside_changes_are_never_torn"),
        (CannotApply, "test_searches_beside_changes_are_never_torn"),
    ],
)
def test_a_broken_vector_store_fails_its_suite(backend: type, found_by: str) -> None:
    assert found_by in failures(VectorStoreContract, "make_store", backend)


@pytest.mark.parametrize(
    ("contract", "make", "backend"),
    [
        (EmbedderContract, "make_embedder", HashingEmbedder),
        (VectorStoreContract, "make_store", NumpyVectorStore),
        (CostStoreContract, "make_store", MemoryCostStore),
    ],
)
def test_a_sound_backend_passes_its_suite(contract: type, make: str, backend: type) -> None:
    assert failures(contract, make, backend) == set()


@pytest.mark.parametrize("contract", [EmbedderContract, VectorStoreContract, CostStoreContract])
def test_a_suite_says_what_it_needs(contract: type) -> None:
    (make,) = [name for name in vars(contract) if name.startswith("make_")]
    with pytest.raises(NotImplementedError):
        getattr(contract(), make)()
