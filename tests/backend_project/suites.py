"""The four contract suites over the installed backends: python -m django test …suites."""

from __future__ import annotations

import tempfile
import unittest
from pathlib import Path

import numpy as np
from obc_ai_test_backends.cost_store import SQLiteCostStore
from obc_ai_test_backends.embedder import TrigramEmbedder
from obc_ai_test_backends.provider import ParrotProvider
from obc_ai_test_backends.vector_store import FileVectorStore

from django_obc_ai.testing import (
    CostStoreContract,
    EmbedderContract,
    ProviderContract,
    VectorStoreContract,
)
from django_obc_ai.types import ReplicaState


class _InFolder(unittest.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))


class ParrotProviderTests(ProviderContract, unittest.TestCase):
    def make_provider(self) -> ParrotProvider:
        return ParrotProvider(api_key="test")

    def make_failing_provider(self) -> ParrotProvider:
        return ParrotProvider(api_key="down")


class TrigramEmbedderTests(EmbedderContract, unittest.TestCase):
    def make_embedder(self) -> TrigramEmbedder:
        return TrigramEmbedder()


class SQLiteCostStoreTests(CostStoreContract, _InFolder):
    def make_store(self) -> SQLiteCostStore:
        return SQLiteCostStore(path=self.folder / "costs.sqlite3")


class FileVectorStoreTests(VectorStoreContract, _InFolder):
    def make_store(self) -> FileVectorStore:
        return FileVectorStore(path=self.folder)

    def _fill(self) -> ReplicaState:
        store, _, _ = self._filled(5)
        state = store.state("places")
        assert state is not None
        return state

    def test_a_new_process_starts_with_what_was_saved(self) -> None:
        state = self._fill()
        again = self.make_store()
        self.assertEqual(again.state("places"), state)
        self.assertEqual(again.count("places"), 5)
        query = np.eye(1, 16, dtype=np.float32)
        self.assertEqual(len(again.search("places", query, 9)[0]), 5)

    def test_a_damaged_file_is_as_good_as_none(self) -> None:
        self._fill()
        (file,) = self.folder.iterdir()
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
        with self.assertLogs("obc_ai_test_backends.vector_store", "WARNING"):
            self.assertIsNone(self.make_store().state("places"))

    def test_a_dropped_index_stays_dropped(self) -> None:
        store, _, _ = self._filled(5)
        store.drop("places")
        self.assertIsNone(self.make_store().state("places"))
        self.assertEqual(list(self.folder.iterdir()), [])
