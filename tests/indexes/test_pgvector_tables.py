"""Tables of the pgvector store: erased, left over, exchanged, forbidden."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.contrib.auth import get_user_model
from django.db import connections, router
from django.test import TestCase

from django_obc_ai.backends.vector_stores import _pgvector_feed as feeding
from django_obc_ai.backends.vector_stores import _pgvector_tables as tables
from django_obc_ai.backends.vector_stores import vector_stores
from django_obc_ai.exceptions import ConfigurationError
from django_obc_ai.indexes import forgetting, generations, get_index, replica
from django_obc_ai.models import Chunk, IndexGeneration, IndexState, Tombstone
from django_obc_ai.services.indexing import IndexingService
from django_obc_ai.services.search import SimilaritySearchService
from django_obc_ai.testing import index_now, override_ai
from tests.indexes.in_postgres import (
    DATABASES,
    assert_tables_equal,
    in_postgres,
    pgvector,
    save,
    sql,
    vector_tables,
)
from tests.indexes.test_equal_to_data import found
from tests.testapp.models import Place, Slugged

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=DATABASES),
    pytest.mark.usefixtures("postgres_alias"),
]


@pytest.fixture(autouse=True)
def _there(postgres_alias: str) -> Iterator[None]:
    with in_postgres():
        yield


def test_what_is_erased_is_gone_from_every_table_at_once() -> None:
    places = save()
    IndexingService().index("places")
    with override_ai(DATABASE="postgres"):  # by a process that knows nothing of the table
        Place.objects.filter(pk=places[0].pk)._raw_delete("postgres")
        assert forgetting.forget_gone(get_index("places")) == 1
        assert_tables_equal()
    places[1].delete()
    assert_tables_equal()
    assert len(found("places", "Alpha")) == 4


def test_a_retired_generation_whose_table_is_being_read_goes_with_the_next_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tables, "_PATIENCE", "50ms")
    save()
    IndexingService().index("places")
    (name,) = vector_tables()
    reader = connections["postgres"].copy()
    try:
        with reader.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute(f"SELECT count(*) FROM {name}")
            IndexingService().index("places", rebuild=True)
            assert name in vector_tables()
            assert len(found("places", "Alpha")) == 6
            cursor.execute("ROLLBACK")
    finally:
        reader.close()
    IndexingService().index("places")
    assert_tables_equal()


def test_tables_of_lost_generations_are_dropped() -> None:
    save()
    IndexingService().index("places")
    IndexState.objects.all().delete()  # as a flush does
    assert len(vector_tables()) == 1
    IndexingService().index("slugs")
    assert len(vector_tables()) == 1
    assert_tables_equal()


def test_another_type_of_vectors_or_keys_is_another_table() -> None:
    save()
    Slugged.objects.create(slug="s/1", title="Tawi-Tawi")
    IndexingService().index("slugs")
    IndexingService().index("places")
    serving = generations.serving_of(get_index("places"))
    assert serving is not None
    assert tables.columns_of("postgres", serving.pk) == tables.Columns(
        key="bigint", type="vector", dimension=serving.dimension
    )
    with in_postgres(type="halfvec"):
        assert IndexingService().index("places").embedded == 0
        columns = tables.columns_of("postgres", serving.pk)
        assert columns is not None and columns.type == "halfvec"
        Place.objects.create(name="Alpha half")
        assert len(found("places", "Alpha")) == 7
        assert found("slugs", "Tawi-Tawi") == ["s/1"]
    feeding.let_go("postgres", serving.pk)
    wrong = tables.Columns(key="uuid", type="vector", dimension=serving.dimension)
    tables.create("postgres", serving.pk, wrong)
    feeding.hold("postgres", serving.pk, IndexState.objects.get(pk="places").version)
    Place.objects.create(name="Alpha last")  # the write lets go of what it cannot feed
    assert len(found("places", "Alpha")) == 8
    assert_tables_equal()


def test_a_broken_vector_is_left_out_and_told_by_the_verification() -> None:
    save()
    IndexingService().index("places")
    (serving,) = IndexGeneration.objects.all()
    feeding.let_go("postgres", serving.pk)
    chunk = Chunk.objects.order_by("pk").first()
    assert chunk is not None
    Chunk.objects.filter(pk=chunk.pk).update(vector=b"\x00\x00\xc0\x7f" * serving.dimension)
    assert len(found("places", "Alpha", mode="vector")) == 5
    assert IndexingService().verify("places").broken == (chunk.object_key,)
    assert IndexingService().verify("places", repair=True).is_equal
    assert len(found("places", "Alpha")) == 6
    assert_tables_equal()


def test_a_table_that_fell_behind_the_kept_history_is_filled_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    save()
    IndexingService().index("places")
    # As if a release that knows no tables had written, and its tombstones were forgotten.
    Chunk.objects.filter(object_key=Chunk.objects.order_by("pk").first().object_key).delete()  # type: ignore[union-attr]
    IndexState.objects.update(version=5_000)
    assert len(found("places", "Alpha")) == 5
    assert_tables_equal()
    assert not Tombstone.objects.exists()


def test_keys_of_another_type_wait_for_the_next_run() -> None:
    save(2)
    IndexingService().index("places")
    (serving,) = IndexGeneration.objects.all()
    chunk = Chunk.objects.order_by("pk").first()
    assert chunk is not None
    Chunk.objects.filter(pk=chunk.pk).update(object_key="a-slug")
    for is_filled in (True, False):
        if is_filled:
            feeding.let_go("postgres", serving.pk)
        else:  # as a part of a write
            Chunk.objects.filter(pk=chunk.pk).update(version=10**6)
            IndexState.objects.update(version=10**6)
        Place.objects.create(name="Alpha other", province="Sulu")
        assert len(found("places", "Alpha", threshold=-1)) == (2 if is_filled else 3)
    assert IndexingService().index("places").embedded == 1
    assert len(found("places", "Alpha", threshold=-1)) == 4
    assert_tables_equal()


def test_many_chunks_in_one_write_are_fed_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "_BATCH", 60)
    save(150)
    IndexingService().index("places", batch_size=200)
    assert_tables_equal()
    assert len(found("places", "Alpha")) == 100


def test_a_stranger_with_the_same_name_sees_nothing_of_the_other(postgres_alias: str) -> None:
    hidden = Place.objects.create(name="Alpha hidden", is_hidden=True)
    save(2)
    IndexingService().index("places")
    assert len(found("places", "Alpha")) == 2
    owner = get_user_model().objects.create(username="amina")
    Place.objects.filter(pk=hidden.pk).update(owner=owner)
    assert len(found("places", "Alpha", user=owner)) == 3
    assert len(found("places", "Alpha", filters={"owner__username": "amina"}, user=owner)) == 1
    similar = SimilaritySearchService().find_similar("places", hidden.pk, user=owner, threshold=-1)
    assert len(similar) == 2


def test_the_message_says_what_to_run_as_which_role() -> None:
    sql("CREATE ROLE limited")
    sql("DROP EXTENSION vector CASCADE")
    try:
        sql("SET ROLE limited")
        with pytest.raises(ConfigurationError) as raised:
            tables.ensure_extension("postgres")
        assert "CREATE EXTENSION IF NOT EXISTS vector" in raised.value.hint
        assert raised.value.check_id == "E024"
        sql("RESET ROLE")
        tables.ensure_extension("postgres")  # its owner may
        sql("SET ROLE limited")
        tables.ensure_extension("postgres")
    finally:
        sql("RESET ROLE")
        sql("DROP ROLE limited")


class InsideATestCase(TestCase):
    databases = {"default", "postgres"}

    def test_all_of_it_works_in_the_transaction_of_a_test(self) -> None:
        with in_postgres(approximate={"above": 1, "m": 4, "ef_construction": 16}):
            Place.objects.create(name="Within")
            index_now("places")
            self.assertEqual(found("places", "Within"), ["Within"])
            self.assertEqual(router.db_for_read(Place), "postgres")
            store = replica.sync(get_index("places")).store
            self.assertEqual(store.approximate_kind("places"), "HNSW, M 4, ef_construction 16")
            self.assertEqual(store.count("places"), 1)
            Place.objects.all().delete()
            index_now()
            self.assertEqual(found("places", "Within"), [])
            index_now("places")
        with override_ai(VECTOR_STORES=pgvector()):
            assert vector_stores["default"].is_in_database
