"""The index equals the data after saves, deletes, rollbacks, moves and races."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.db import router, transaction
from django.test import TestCase
from django.utils import timezone

from django_obc_ai.indexes import generations, get_index
from django_obc_ai.indexes.chunking import TextSpan
from django_obc_ai.models import (
    Chunk,
    DirtyRow,
    IndexGeneration,
    IndexState,
    IndexVersion,
    Tombstone,
)
from django_obc_ai.services.changes import mark_changed
from django_obc_ai.services.embeddings import EmbeddingService
from django_obc_ai.services.indexing import IndexingService, IndexProgress
from django_obc_ai.services.search import SimilaritySearchService
from django_obc_ai.testing import index_now, override_ai
from tests.testapp.models import Child, CompositeThing, Place, Slugged, Tag, UUIDThing

pytestmark = pytest.mark.django_db(transaction=True)


def found(index: str, query: str, **options: Any) -> list[str]:
    service = SimilaritySearchService()
    results = service.search(index, query, user=options.pop("user", None), k=100, **options)
    return [str(result.object) for result in results]


def assert_equal_to_rows(name: str) -> None:
    """Compare every chunk of the serving generation with what the rows say now."""
    index = get_index(name)
    serving = generations.serving_of(index)
    assert serving is not None
    held: dict[str, list[TextSpan]] = {}
    for chunk in Chunk.objects.filter(generation=serving).order_by("object_key", "number"):
        held.setdefault(chunk.object_key, []).append(
            TextSpan(text=chunk.text, start=chunk.start, end=chunk.end)
        )
    wanted = {index.key_of(row): index.split(index.get_text(row)) for row in index.get_queryset()}
    assert held == {key: texts for key, texts in wanted.items() if texts}


@pytest.fixture(autouse=True)
def _fresh_stores() -> Any:
    with override_ai():
        yield


def test_saves_and_deletes_reach_the_index_at_commit() -> None:
    IndexingService().index("places")
    place = Place.objects.create(name="Poblacion", province="Maguindanao")
    assert found("places", "Poblacion") == ["Poblacion"]
    place.name = "San Isidro"
    place.save()
    assert found("places", "Poblacion") == []
    assert found("places", "San Isidro") == ["San Isidro"]
    place.delete()
    assert found("places", "San Isidro") == []
    assert_equal_to_rows("places")
    assert not DirtyRow.objects.exists()


def test_a_rolled_back_save_changes_nothing() -> None:
    Place.objects.create(name="Kept", province="A")
    IndexingService().index("places")
    with pytest.raises(RuntimeError), transaction.atomic(using=router.db_for_write(Place)):
        Place.objects.create(name="Gone", province="A")
        Place.objects.filter(name="Kept").get().delete()
        raise RuntimeError
    assert found("places", "Kept") == ["Kept"]
    assert found("places", "Gone") == []
    assert not DirtyRow.objects.exists()


def test_a_row_that_leaves_the_queryset_leaves_the_index() -> None:
    place = Place.objects.create(name="Soft", province="A")
    IndexingService().index("places")
    place.name = "deleted Soft"
    place.save()
    assert found("places", "Soft") == []
    assert_equal_to_rows("places")


def test_bulk_changes_need_the_documented_call() -> None:
    IndexingService().index("places")
    places = Place.objects.bulk_create([Place(name=f"Bulk {n}") for n in range(3)])
    assert found("places", "Bulk") == []
    with transaction.atomic():
        Place.objects.filter(pk=places[0].pk).update(name="Renamed")
        mark_changed(Place, [place.pk for place in places])
    assert sorted(found("places", "Bulk")) == ["Bulk 1", "Bulk 2"]
    assert_equal_to_rows("places")


def test_many_to_many_changes_from_both_sides() -> None:
    IndexingService().index("places")
    place = Place.objects.create(name="Parang")
    tag = Tag.objects.create(name="coastal")
    place.tags.add(tag)
    assert found("places", "coastal") == ["Parang"]
    tag.places.clear()
    assert found("places", "coastal") == []
    tag.places.add(place)
    assert found("places", "coastal") == ["Parang"]
    place.tags.clear()
    assert found("places", "coastal") == []


def test_children_and_proxies_of_an_indexed_model_count() -> None:
    IndexingService().index("places")
    child = Child.objects.create(name="Childish", population=3)
    assert found("places", "Childish") == ["Childish"]
    child.delete()
    assert found("places", "Childish") == []


@pytest.mark.parametrize(
    ("index", "make"),
    [
        ("uuids", lambda title: UUIDThing.objects.create(title=title)),
        ("slugs", lambda title: Slugged.objects.create(slug=f"s/{title}", title=title)),
        (
            "composites",
            lambda title: CompositeThing.objects.create(region="ré,g", number=4, title=title),
        ),
    ],
)
def test_any_primary_key_type(index: str, make: Callable[[str], Any]) -> None:
    made = make("Tawi-Tawi")
    IndexingService().index(index)
    hits = SimilaritySearchService().search(index, "Tawi-Tawi", user=None)
    assert [hit.object for hit in hits] == [made]
    made.title = "Basilan"
    made.save()
    assert found(index, "Basilan") == [str(made)]
    made.delete()
    IndexingService().index(index)
    assert Chunk.objects.count() == 0


def test_unchanged_texts_are_not_embedded_again() -> None:
    Place.objects.bulk_create([Place(name=f"Place {n}") for n in range(30)])
    first = IndexingService().index("places", batch_size=7)
    assert (first.seen, first.embedded, first.reason) == (30, 30, "first build")
    again = IndexingService().index("places")
    assert (again.seen, again.embedded, again.reason) == (30, 0, "")
    place = Place.objects.first()
    Place.objects.filter(pk=place.pk).update(name="Other")
    changed = IndexingService().index("places")
    assert (changed.embedded, changed.removed) == (1, 0)
    assert_equal_to_rows("places")


def test_rows_deleted_without_a_signal_are_pruned() -> None:
    Place.objects.bulk_create([Place(name=f"Place {n}") for n in range(20)])
    IndexingService().index("places")
    Place.objects.filter(name__endswith="5")._raw_delete(router.db_for_write(Place))
    report = IndexingService().index("places", batch_size=3)
    assert report.removed == 2
    assert_equal_to_rows("places")


def test_a_grown_corpus_is_fitted_anew() -> None:
    Place.objects.bulk_create([Place(name=f"Place {n}") for n in range(3)])
    IndexingService().index("places")
    before = generations.serving_of(get_index("places"))
    Place.objects.bulk_create([Place(name=f"More {n}") for n in range(40)])
    report = IndexingService().index("places")
    assert report.reason == "corpus size changed"
    after = generations.serving_of(get_index("places"))
    assert before and after and before.pk != after.pk
    assert Chunk.objects.exclude(generation=after).count() == 0
    assert_equal_to_rows("places")


def test_limit_builds_but_does_not_serve() -> None:
    Place.objects.bulk_create([Place(name=f"Place {n}") for n in range(10)])
    report = IndexingService().index("places", limit=4, batch_size=3)
    assert (report.seen, report.embedded, report.is_serving) == (4, 4, False)
    assert generations.serving_of(get_index("places")) is None
    report = IndexingService().index("places")
    assert (report.seen, report.embedded, report.is_serving) == (10, 6, True)
    assert_equal_to_rows("places")


def test_an_unreadable_row_stays_and_stops_nobody_else() -> None:
    Place.objects.create(name="Fine")
    IndexingService().index("places")
    bad = Place.objects.create(name="Readable")
    bad.name = "unreadable"
    bad.save()
    Place.objects.create(name="Later")
    assert sorted(found("places", "Readable Later")) == ["Later", "unreadable"]
    assert list(DirtyRow.objects.values_list("object_key", flat=True)) == [str(bad.pk)]
    report = IndexingService().index("places")
    assert report.failed == (str(bad.pk),)
    bad.name = "Readable again"
    bad.save()
    assert not DirtyRow.objects.exists()
    assert_equal_to_rows("places")


def test_force_embeds_everything_again() -> None:
    Place.objects.bulk_create([Place(name=f"Place {n}") for n in range(5)])
    IndexingService().index("places")
    ids = set(Chunk.objects.values_list("pk", flat=True))
    report = IndexingService().index("places", force=True)
    assert report.embedded == 5
    assert ids.isdisjoint(Chunk.objects.values_list("pk", flat=True))
    assert_equal_to_rows("places")


def test_a_row_that_changes_while_it_is_embedded_is_embedded_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = Place.objects.create(name="Before")
    IndexingService().index("places")
    original = EmbeddingService.embed_documents
    edits = iter(["During"])

    def embed_late(self: Any, *args: Any, **kwargs: Any) -> Any:
        vectors = original(self, *args, **kwargs)
        for name in edits:
            Place.objects.filter(pk=place.pk).update(name=name)
        return vectors

    monkeypatch.setattr(EmbeddingService, "embed_documents", embed_late)
    place.name = "Second"
    place.save()
    assert_equal_to_rows("places")
    assert found("places", "During") == ["During"]


def test_replica_notices_a_restored_history() -> None:
    Place.objects.create(name="Old")
    IndexingService().index("places")
    assert found("places", "Old") == ["Old"]
    state = IndexState.objects.get(pk="places")
    chunk = Chunk.objects.get()
    # As if a backup had been restored and a different write taken the next number.
    Chunk.objects.filter(pk=chunk.pk).update(text="x", object_key="999")
    IndexVersion.objects.filter(index=state, version=state.version).update(stamp="other")
    IndexState.objects.filter(pk="places").update(version=state.version + 1, stamp="next")
    assert found("places", "Old") == []


def test_old_versions_and_tombstones_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generations, "KEPT_VERSIONS", 500)
    place = Place.objects.create(name="Name")
    IndexingService().index("places")
    found("places", "Name")
    IndexState.objects.filter(pk="places").update(version=1_997)
    for number in range(6):
        place.name = f"Name {number}"
        place.save()
    state = IndexState.objects.get(pk="places")
    assert state.horizon == 1_500
    assert not IndexVersion.objects.filter(version__lt=1_500).exists()
    assert Tombstone.objects.filter(version__gt=1_500).exists()
    assert found("places", "Name") == ["Name 5"]


def test_a_deploy_that_changes_the_text_loses_no_save_of_either_side(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Place.objects.bulk_create([Place(name=f"Alpha {n}", province="x") for n in range(6)])
    IndexingService().index("places")
    index_class = type(get_index("places"))
    saved: list[str] = []

    def save_beside_the_build(step: IndexProgress) -> None:
        """A worker with the old settings, then one with the new ones, saves a row."""
        for version in ("1", "2") if not saved else ():
            monkeypatch.setattr(index_class, "text_version", version)
            place = Place.objects.get(name=f"Alpha {version}")
            place.name = f"Zebra {version}"
            place.save()
            saved.append(place.name)

    monkeypatch.setattr(index_class, "text_version", "2")
    report = IndexingService().index("places", batch_size=3, progress=save_beside_the_build)
    assert report.reason == "embedder or text template changed"
    assert sorted(found("places", "Zebra")) == saved
    assert_equal_to_rows("places")
    assert not DirtyRow.objects.exists()


def test_a_build_that_was_given_up_is_removed_after_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    Place.objects.bulk_create([Place(name=f"Alpha {n}") for n in range(6)])
    IndexingService().index("places")
    with monkeypatch.context() as patch:
        patch.setattr(type(get_index("places")), "text_version", "2")
        IndexingService().index("places", limit=2)
    IndexingService().index("places")
    assert IndexGeneration.objects.count() == 2
    old = timezone.now() - generations.ABANDONED_AFTER
    IndexGeneration.objects.filter(is_complete=False).update(updated_at=old)
    IndexingService().index("places")
    assert IndexGeneration.objects.get().is_complete
    assert not DirtyRow.objects.exists()


class InsideATestCase(TestCase):
    """A TestCase never commits; nothing of it may reach the shared replica."""

    def test_index_now_sees_the_rows_of_the_test(self) -> None:
        with override_ai():
            Place.objects.create(name="Within")
            index_now("places")
            self.assertEqual(found("places", "Within"), ["Within"])
            Place.objects.all().delete()
            index_now()
            self.assertEqual(found("places", "Within"), [])

    def test_uncommitted_writes_do_not_feed_the_shared_replica(self) -> None:
        from django_obc_ai.backends.vector_stores import vector_stores

        with override_ai():
            Place.objects.create(name=f"Within {uuid.uuid4()}")
            index_now("places")
            found("places", "Within")
            self.assertIsNone(vector_stores["default"].state("places"))
