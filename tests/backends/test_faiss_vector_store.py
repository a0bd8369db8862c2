"""The FAISS store: the contract, and equality with a dictionary and with a float64 ranking."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from django.test import SimpleTestCase

from django_obc_ai.backends.vector_stores import BaseVectorStore
from django_obc_ai.backends.vector_stores.faiss import FaissVectorStore
from django_obc_ai.testing import VectorStoreContract
from tests.extras import requires

pytestmark = requires("faiss")


@requires("faiss")
class FaissVectorStoreTests(VectorStoreContract, SimpleTestCase):
    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def make_store(self) -> BaseVectorStore:
        store = FaissVectorStore(path=self.folder)
        self.addCleanup(store.close)
        return store
