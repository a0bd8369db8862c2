"""The HNSW index of the pgvector store: built beside everything else, and what options ask for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from django.db import connections

from django_obc_ai.backends.vector_stores import _pgvector_index as graphs
from django_obc_ai.backends.vector_stores import _pgvector_tables as tables
from django_obc_ai.backends.vector_stores import vector_stores
from django_obc_ai.backends.vector_stores.pgvector import PgvectorVectorStore
from django_obc_ai.exceptions import ConfigurationError, IndexNotReadyError
from django_obc_ai.indexes import generations, get_index, replica
from django_obc_ai.models import IndexGeneration, IndexState
from django_obc_ai.services.indexing import IndexingService
from tests.indexes.in_postgres import DATABASES, in_postgres
from tests.indexes.test_equal_to_data import found
from tests.testapp.models import Place

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=DATABASES),
    pytest.mark.usefixtures("postgres_alias"),
]
SMALL = {"above": 3, "m": 4, "ef_construction": 16, "ef_search": 40}
KIND = "HNSW, M 4, ef_construction 16"


@pytest.fixture(autouse=True)
def _there(postgres_alias: str) -> Iterator[None]:
    with in_postgres(approximate=SMALL, maintenance_work_mem="32MB", parallel_workers=0):
        yield


def save(count: int = 6) -> None:
    Place.objects.bulk_create(Place(name=f"Alpha {n}", province="Sulu") for n in range(count))


def graphs_held() -> list[tuple[str, bool]]:
    with connections["postgres"].cursor() as cursor:
        cursor.execute(
            "SELECT c.relname, i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
            " WHERE c.relname LIKE 'django_obc_ai_hnsw_%' ORDER BY 1"
        )
        return cursor.fetchall()


def kind() -> str:
    return replica.sync(get_index("places")).store.approximate_kind("places")


def test_a_rebuild_builds_the_graph_before_it_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    save()
    seen: list[Any] = []
    original = generations.switch_to

    def switch_to(index: Any, generation: Any) -> None:
        seen.append(graphs.held_kind("postgres", generation.pk))
        original(index, generation)

    monkeypatch.setattr(generations, "switch_to", switch_to)
    IndexingService().index("places")
    IndexingService().index("places", rebuild=True)
    assert seen == [KIND, KIND]
    assert len(graphs_held()) == 1
    assert kind() == KIND


def test_a_small_index_has_none_until_it_grows() -> None:
    save(2)
    IndexingService().index("places")
    assert kind() == ""
    assert replica.sync(get_index("places")).store.build_approximate("places") == ""
    save(4)
    IndexingService().index("places")
    assert kind() == KIND


def test_searches_take_it_only_where_a_recall_was_measured() -> None:
    save()
    IndexingService().index("places")
    IndexState.objects.update(recall=None)
    assert replica.sync(get_index("places")).is_exact
    IndexState.objects.update(recall=0.94)  # less than the index asks for
    assert replica.sync(get_index("places")).is_exact
    IndexState.objects.update(recall=0.97)
    assert not replica.sync(get_index("places")).is_exact
    assert len(found("places", "Alpha", threshold=-1)) == 6
    Place.objects.all().delete()
    assert found("places", "Alpha", threshold=-1) == []


def test_other_options_make_another_graph_and_none_drops_it() -> None:
    save()
    IndexingService().index("places")
    (before,) = graphs_held()
    IndexingService().index("places")
    assert graphs_held() == [before]
    with in_postgres(approximate={**SMALL, "m": 6}):
        IndexingService().index("places")
        assert kind() == "HNSW, M 6, ef_construction 16"
        assert before not in graphs_held()
    with in_postgres():
        IndexingService().index("places")
        assert graphs_held() == []


def test_what_a_killed_build_has_left_is_built_again() -> None:
    save()
    IndexingService().index("places")
    ((name, _),) = graphs_held()
    with connections["postgres"].cursor() as cursor:  # as a killed CREATE INDEX CONCURRENTLY does
        cursor.execute(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = to_regclass(%s)", [name]
        )
    assert kind() == ""
    assert len(found("places", "Alpha")) == 6
    IndexingService().index("places")
    assert graphs_held() == [(name, True)]


def test_a_build_leaves_the_session_as_it_was() -> None:
    save()
    with connections["postgres"].cursor() as cursor:
        cursor.execute("SHOW maintenance_work_mem")
        before = cursor.fetchone()
        IndexingService().index("places")
        cursor.execute("SHOW maintenance_work_mem")
        assert cursor.fetchone() == before
        with in_postgres(approximate={**SMALL, "m": 5}, maintenance_work_mem="nonsense"):
            with pytest.raises(Exception, match="maintenance_work_mem"):
                IndexingService().index("places")
        cursor.execute("SHOW statement_timeout")
        assert cursor.fetchone() == ("0",)


def test_vectors_too_long_for_a_graph_are_refused_before_anything_is_embedded() -> None:
    for kind_of, dimension in (("vector", 2_001), ("halfvec", 4_001)):
        store = PgvectorVectorStore(type=kind_of, approximate=SMALL)
        with pytest.raises(ConfigurationError) as raised:
            store.columns(Place, dimension)
        assert raised.value.check_id == "E004"
        store.columns(Place, dimension - 1)
        PgvectorVectorStore(type=kind_of).columns(Place, dimension)


@pytest.mark.parametrize("dimension", [3_000, 16_000])
def test_long_vectors_without_a_graph_are_searched(dimension: int) -> None:
    from django_obc_ai.testing import load_vectors

    vectors = np.eye(3, dimension, dtype=np.float32)
    with in_postgres():
        load_vectors("other", [1, 2, 3], vectors)
        store = vector_stores["default"]
        assert [[hit.id for hit in hits] for hits in store.search("other", vectors, 1)] == [
            [1], [2], [3],
        ]  # fmt: skip


def test_a_generation_without_a_table_has_no_graph() -> None:
    save()
    IndexingService().index("places")
    generation = IndexGeneration.objects.get()
    store = vector_stores["default"]
    assert isinstance(store, PgvectorVectorStore)
    store.using("postgres").drop("places")
    assert tables.columns_of("postgres", generation.pk) is None
    with pytest.raises(IndexNotReadyError):
        store.using("postgres").prepare("places", generation.pk)
    with pytest.raises(IndexNotReadyError):
        store.using("postgres").build_approximate("places")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"type": "bit"}, "type"),
        ({"parallel_workers": -1}, "parallel_workers"),
        ({"approximate": {"kind": "ivf"}}, "kind"),
        ({"approximate": {"lists": 3}}, "lists"),
        ({"approximate": {"m": 1}}, "m"),
        ({"approximate": {"m": "16"}}, "m"),
        ({"approximate": {"m": 40}}, "ef_construction"),
    ],
)
def test_options_that_cannot_be_are_refused(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PgvectorVectorStore(**options)
