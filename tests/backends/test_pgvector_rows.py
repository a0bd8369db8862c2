"""Searches among the rows of a queryset: what brute force finds, from all rows to a single one."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from django.contrib.auth import get_user_model
from django.db import DatabaseError, connections, transaction
from django.db.models import Count, F, Q, QuerySet
from django.test import TestCase
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from django_obc_ai.backends.vector_stores._pgvector_rows import column_type
from django_obc_ai.backends.vector_stores.pgvector import PgvectorVectorStore
from django_obc_ai.exceptions import DimensionMismatchError
from django_obc_ai.types import ReplicaState
from tests.indexes.in_postgres import in_postgres
from tests.testapp.models import Child, CompositeThing, Place, Slugged, Tag, UUIDThing

ROWS, DIMENSION = 10_000, 16
Rows = QuerySet[Any]


def unit(seed: int, count: int) -> Any:
    vectors = np.random.default_rng(seed).normal(size=(count, DIMENSION)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


VECTORS = unit(1, ROWS)
VECTORS[40:90] = VECTORS[40]  # place names are full of repetitions
VECTORS[90] = 0
QUERIES = np.vstack([unit(2, 60), VECTORS[40:41]])
STATE = ReplicaState(index_uuid=uuid.UUID(int=1), generation=uuid.UUID(int=2), version=1, stamp="s")

#: Of 10,000 rows: all, a tenth, a hundredth ... one, none.
PREFIXES = st.sampled_from(["", "1", "12", "123", "1234", "12345"])


def of_prefix(rows: Rows, prefix: str) -> Rows:
    return rows.filter(name__startswith=f"name {prefix}")


def of_people(rows: Rows, who: str) -> Rows:
    return rows.filter(Q(is_hidden=False) | Q(owner__username=who))


FILTERS: list[Callable[[Rows], Rows]] = [
    lambda rows: rows,
    lambda rows: rows.filter(is_hidden=True),
    lambda rows: rows.exclude(province="p 3"),
    lambda rows: rows.filter(tags__name__in=["a", "b"]),
    lambda rows: rows.filter(tags__name__in=["a", "b"]).distinct(),
    lambda rows: rows.annotate(count=Count("tags")).filter(count__gte=2),
    lambda rows: rows.annotate(twice=F("pk") * 2).filter(twice__lt=600).order_by("-twice"),
    lambda rows: rows.select_related("owner").prefetch_related("tags").order_by("province"),
    lambda rows: rows.filter(province__contains="%") | rows.filter(name__endswith="7"),
    lambda rows: rows.filter(pk__in=[]),
    partial(of_people, who="amina"),
    partial(of_people, who="nobody"),
]
LAST: list[Callable[[Rows], Rows]] = [
    lambda rows: rows,
    lambda rows: rows.order_by("-pk")[:300],
    lambda rows: rows.order_by("province", "pk").distinct()[5:50],
    lambda rows: rows.order_by("province", "pk").distinct("province"),
    lambda rows: rows.only("name"),
    lambda rows: rows.select_for_update(),
]


def of_all(filters: list[Any], prefix: str, last: Any) -> Rows:
    rows = of_prefix(Place.objects.all(), prefix)
    for each in filters:
        rows = each(rows)
    found: Rows = last(rows)
    return found


class _Loaded(TestCase):
    databases = {"default", "postgres"}
    kind = "vector"
    store: PgvectorVectorStore

    @classmethod
    def setUpTestData(cls) -> None:
        with in_postgres():
            owner = get_user_model().objects.create(username="amina")
            tags = [Tag.objects.create(name=name) for name in "abc"]
            Place.objects.bulk_create(
                Place(
                    pk=n + 1,
                    name=f"name {n % 10}{n // 10 % 10}{n // 100 % 10}{n // 1000}%s",
                    province=f"p {n % 7}",
                    is_hidden=n % 3 == 0,
                    owner=owner if n % 30 == 0 else None,
                )
                for n in range(ROWS)
            )
            for number, tag in enumerate(tags):
                tag.places.set(range(1, 200, number + 2))
            cls.store = PgvectorVectorStore(
                type=cls.kind, approximate={"above": 1, "ef_search": 100}
            ).using("postgres")
            batches = [(np.arange(ROWS) + 1, VECTORS)]
            cls.store.reset("places", dimension=DIMENSION, batches=batches, state=STATE)
            cls.store.build_approximate("places")
            with connections["postgres"].cursor() as cursor:
                cursor.execute("ANALYZE")

    def setUp(self) -> None:
        there = in_postgres()
        there.__enter__()
        self.addCleanup(there.__exit__, None, None, None)

    def wanted(self, rows: Rows, query: Any, k: int) -> list[int]:
        """Return what is nearest by brute force, in float64."""
        pks = np.array(sorted(set(rows.values_list("pk", flat=True))), dtype=np.int64)
        scores = (VECTORS[pks - 1].astype(np.float64) @ query.astype(np.float64)).astype("f4")
        return [int(pk) for pk in pks[np.lexsort((pks, -scores))][:k]]


EACH = {
    "filters": st.lists(st.sampled_from(FILTERS), max_size=2),
    "prefix": PREFIXES,
    "last": st.sampled_from(LAST),
    "number": st.integers(0, len(QUERIES) - 1),
    "k": st.sampled_from([1, 10, 60]),
}
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


class _Exact(_Loaded):
    def test_filters_find_what_brute_force_finds(self) -> None:
        @QUICK
        @given(**EACH)
        def check(filters: Any, prefix: str, last: Any, number: int, k: int) -> None:
            rows, query = of_all(filters, prefix, last), QUERIES[number]
            try:
                with transaction.atomic(using="postgres"):
                    wanted = self.wanted(rows, query, k)
            except (NotImplementedError, DatabaseError):
                reject()  # no queryset: FOR UPDATE of groups, DISTINCT ON of annotations
            (hits,) = self.store.search_rows("places", query[None], k, rows)
            assert [hit.id for hit in hits] == wanted

        check()

    def test_the_approximate_index_gives_as_many_of_them(self) -> None:
        @QUICK
        @given(**{**EACH, "last": st.sampled_from(LAST[:2])})
        def check(filters: Any, prefix: str, last: Any, number: int, k: int) -> None:
            rows, query = of_all(filters, prefix, last), QUERIES[number]
            (hits,) = self.store.search_rows("places", query[None], k, rows, is_exact=False)
            wanted = self.wanted(rows, query, k)
            assert len(hits) == len({hit.id for hit in hits}) == len(wanted)
            assert {hit.id for hit in hits} <= set(rows.values_list("pk", flat=True))
            scores = [hit.score for hit in hits]
            exact = [float(VECTORS[hit.id - 1] @ query) for hit in hits]
            np.testing.assert_allclose(scores, exact, atol=1e-6)
            assert scores == sorted(scores, reverse=True)

        check()

    def test_the_approximate_index_keeps_its_recall_at_every_selectivity(self) -> None:
        for prefix in ("", "1", "12", "123", "1234"):
            rows, shared, total = of_prefix(Place.objects.all(), prefix), 0, 0
            for query in QUERIES[:20]:
                (hits,) = self.store.search_rows("places", query[None], 10, rows, is_exact=False)
                wanted = self.wanted(rows, query, 10)
                shared += len({hit.id for hit in hits} & set(wanted))
                total += len(wanted)
            assert shared >= 0.9 * total, prefix


@pytest.mark.usefixtures("postgres_alias")
class VectorRowsTests(_Exact):
    def test_many_queries_are_answered_each(self) -> None:
        rows = Place.objects.filter(is_hidden=False)
        found = self.store.search_rows("places", QUERIES, 7, rows)
        wanted = [self.wanted(rows, query, 7) for query in QUERIES]
        assert [[hit.id for hit in hits] for hits in found] == wanted

    def test_keys_of_every_kind_are_columns_or_are_read(self) -> None:
        kinds = {Place: "bigint", Child: "bigint", UUIDThing: "uuid", Slugged: "text"}
        for model, kind in {**kinds, CompositeThing: "text"}.items():
            assert column_type(model) == kind
        child = Child(place_ptr=Place.objects.get(pk=5), name="child")
        child.save()
        (hits,) = self.store.search_rows("places", QUERIES[:1], 3, Child.objects.all())
        assert [hit.id for hit in hits] == [5]

    def test_united_querysets_are_read_first(self) -> None:
        rows = Place.objects.filter(pk=3).union(Place.objects.filter(pk__in=[8, 9]))
        (hits,) = self.store.search_rows("places", QUERIES[:1], 5, rows)
        assert {hit.id for hit in hits} == {3, 8, 9}

    def test_a_query_of_another_dimension_is_refused_without_rows_too(self) -> None:
        for rows in (Place.objects.all(), Place.objects.none()):
            with pytest.raises(DimensionMismatchError):
                self.store.search_rows("places", np.ones((1, 3), dtype=np.float32), 5, rows)

    def test_settings_of_a_search_end_with_it(self) -> None:
        self.store.search("places", QUERIES[:1], 5, is_exact=False)
        with connections["postgres"].cursor() as cursor:
            cursor.execute("SHOW hnsw.iterative_scan")
            assert cursor.fetchone() == ("off",)

    def test_statements_go_one_by_one_where_the_server_binds(self) -> None:
        options = connections["postgres"].settings_dict["OPTIONS"]
        wanted = self.store.search_rows("places", QUERIES[:1], 5, Place.objects.all())
        options["server_side_binding"] = True
        try:
            for is_exact in (True, False):
                found = self.store.search_rows(
                    "places", QUERIES[:1], 5, Place.objects.all(), is_exact=is_exact
                )
                assert found[0][0].id == wanted[0][0].id
        finally:
            del options["server_side_binding"]

    def test_a_search_through_the_index_does_not_compare_all_rows(self) -> None:
        with connections["postgres"].cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute(
                "EXPLAIN SELECT chunk_id, embedding <#> %s AS distance"
                f" FROM django_obc_ai_vectors_{STATE.generation.hex} ORDER BY distance LIMIT 10",
                [str(QUERIES[0].tolist())],
            )
            assert "django_obc_ai_hnsw_" in "".join(row[0] for row in cursor.fetchall())


@pytest.mark.usefixtures("postgres_alias")
class HalfRowsTests(_Exact):
    kind = "halfvec"


del _Loaded, _Exact
