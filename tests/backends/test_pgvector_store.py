"""The pgvector store keeps the contract of all vector stores, on a real PostgreSQL."""

from __future__ import annotations

import pytest
from django.db import connections
from django.test import TransactionTestCase

from django_obc_ai.backends.vector_stores import BaseVectorStore
from django_obc_ai.backends.vector_stores.pgvector import PgvectorVectorStore
from django_obc_ai.testing import VectorStoreContract


class _Contract(VectorStoreContract):
    kind = "vector"
    rounds = 20

    def make_store(self) -> BaseVectorStore:
        return PgvectorVectorStore(type=self.kind).using("postgres")

    def end_thread(self) -> None:
        connections.close_all()


@pytest.mark.usefixtures("postgres_alias")
class PgvectorStoreTests(_Contract, TransactionTestCase):
    databases = {"default", "postgres"}


@pytest.mark.usefixtures("postgres_alias")
class HalvesTests(_Contract, TransactionTestCase):
    databases = {"default", "postgres"}
    kind = "halfvec"
