"""The FAISS store: the contract, and equality with a dictionary and with a float64 ranking."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.test import SimpleTestCase, override_settings
from hypothesis import given, settings
from hypothesis import strategies as st

from django_obc_ai.backends.vector_stores import BaseVectorStore
from django_obc_ai.backends.vector_stores._exact import exact_scores
from django_obc_ai.backends.vector_stores.faiss import FaissVectorStore
from django_obc_ai.backends.vector_stores.numpy import NumpyVectorStore
from django_obc_ai.exceptions import ConfigurationError, IndexNotReadyError
from django_obc_ai.testing import VectorStoreContract
from tests.backends.test_numpy_vector_store import STEP, UNITS, arrays, batches, best, moment
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
