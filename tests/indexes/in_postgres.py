"""Fixtures of tests that search where the rows are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
from django.db import connections
from django.test import override_settings

from django_obc_ai.backends.vector_stores import _pgvector_tables as tables
from django_obc_ai.models import Chunk, IndexGeneration
from django_obc_ai.testing import override_ai
from tests.testapp.models import Place

DATABASES = ["default", "postgres"]
PGVECTOR = "django_obc_ai.backends.vector_stores.pgvector.PgvectorVectorStore"


def pgvector(**options: Any) -> dict[str, Any]:
    """Return the setting that chooses the store."""
    return {"default": {"BACKEND": PGVECTOR, "OPTIONS": options}}


@contextmanager
def in_postgres(**options: Any) -> Iterator[None]:
    """Let the indexes of the test models be in PostgreSQL, and be searched there."""
    with ExitStack() as stack:
        router = override_settings(DATABASE_ROUTERS=["tests.servers.router.ToPostgres"])
        stack.enter_context(router)
        stack.enter_context(override_ai(VECTOR_STORES=pgvector(**options), DATABASE="postgres"))
        yield


def sql(statement: str, *params: Any) -> list[Any]:
    with connections["postgres"].cursor() as cursor:
        cursor.execute(statement, params)
        return cursor.fetchall() if cursor.description else []


def vector_tables() -> set[str]:
    return {
        row[0]
        for row in sql(
            "SELECT relname FROM pg_class WHERE relname ~ '_vectors_.*' AND relkind = 'r'"
        )
    }


def assert_tables_equal() -> None:
    """Compare each held table with the chunks, to the last bit; and nothing else is there."""
    held = IndexGeneration.objects.filter(held_version__isnull=False).select_related("index")
    for generation in held:
        assert generation.held_version == generation.index.version
        name = tables.name_of(generation.pk)
        rows = sql(
            "SELECT chunk_id, object_key::text, vector_send(embedding::vector)"
            f" FROM {name} ORDER BY chunk_id"
        )
        chunks = Chunk.objects.filter(generation=generation)
        wanted = {each.pk: (each.object_key, bytes(each.vector)) for each in chunks}
        sent = {
            pk: (key, np.frombuffer(bytes(vector)[4:], ">f4").astype("<f4").tobytes())
            for pk, key, vector in rows
        }
        assert sent == wanted
    assert vector_tables() == {tables.name_of(each.pk) for each in held}


def save(count: int = 6) -> list[Place]:
    return Place.objects.bulk_create(
        [Place(name=f"Alpha {n}", province="Sulu") for n in range(count)]
    )
