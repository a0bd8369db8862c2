"""Verification, estimates, reuse, sweeps, and searches over several indexes."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from django_obc_ai.indexes import get_index
from django_obc_ai.models import Chunk, DirtyRow, IndexGeneration
from django_obc_ai.services._sweep import wait_for_sweeps
from django_obc_ai.services.indexing import IndexingService
from django_obc_ai.services.search import SimilaritySearchService
from django_obc_ai.testing import override_ai
from tests.testapp.models import Place, Slugged

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _built() -> Iterator[None]:
    with override_ai():
        Place.objects.bulk_create([Place(name=f"Place {n}", province="Sulu") for n in range(6)])
        IndexingService().index("places")
        yield


def run(*arguments: str) -> tuple[int, str]:
    out = StringIO()
    try:
        call_command("ai_index", *arguments, stdout=out)
    except CommandError as error:
        return error.returncode, out.getvalue()
    return 0, out.getvalue()


def damage(kind: str) -> None:
    chunk = Chunk.objects.order_by("pk").first()
    assert chunk is not None
    if kind == "missing":
        chunk.delete()
    elif kind == "text":
        Chunk.objects.filter(pk=chunk.pk).update(text="another")
    elif kind == "vector":
        Chunk.objects.filter(pk=chunk.pk).update(vector=b"\xff" * len(bytes(chunk.vector)))
    elif kind == "short vector":
        Chunk.objects.filter(pk=chunk.pk).update(vector=b"1234")
    elif kind == "row changed":
        Place.objects.filter(pk=chunk.object_key).update(name="silently")
    else:
        Place.objects.filter(pk=chunk.object_key)._raw_delete("default")


@pytest.mark.parametrize(
    "kind", ["missing", "text", "vector", "short vector", "row changed", "row gone"]
)
def test_verify_finds_a_difference_and_repairs_it(kind: str) -> None:
    assert run("places", "--verify")[0] == 0
    damage(kind)
    assert run("places", "--verify")[0] == 1
    code, text = run("places", "--verify", "--repair")
    assert code == 0
    assert "1 repaired" in text
    assert run("places", "--verify")[0] == 0


def test_verify_says_when_it_could_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("slugs", "--verify")[0] == 2
    assert run("nothing", "--verify")[0] == 2
    Place.objects.create(name="unreadable")
    assert run("places", "--verify")[0] == 2
    monkeypatch.setattr(type(get_index("places")), "text_version", "2")
    code, text = run("places", "--verify")
    assert (code, "another embedder or text template" in text) == (2, True)


def test_repair_needs_verify() -> None:
    assert run("places", "--repair")[0] == 1


def test_a_dry_run_counts_what_is_new_and_writes_nothing() -> None:
    assert "0 texts to embed" in run("places", "--dry-run")[1]
    Place.objects.filter(name="Place 1").update(name="Été")
    estimate = IndexingService().estimate("places")
    assert (estimate.rows, estimate.texts, estimate.cost_usd) == (6, 1, 0)
    assert estimate.tokens == len("Été, Sulu".encode())
    before = Chunk.objects.count()
    assert "1 texts to embed" in run("places", "--dry-run")[1]
    assert Chunk.objects.count() == before


def test_unchanged_texts_are_not_embedded_for_a_new_text_template(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(type(get_index("places")), "text_version", "2")
    Place.objects.filter(name="Place 3").update(name="Place 4")
    state = bytes(IndexGeneration.objects.get().fitted_state)
    report = IndexingService().index("places")
    is_same_state = bytes(IndexGeneration.objects.get().fitted_state) == state
    assert report.reason == "embedder or text template changed"
    assert report.embedded == (1 if is_same_state else 5)
    assert IndexingService().verify("places").is_equal


def leave_over(name: str) -> None:
    """What a process leaves that was killed after its commit."""
    place = Place.objects.filter(name="Place 2").get()
    Place.objects.filter(pk=place.pk).update(name=name)
    old = timezone.now() - datetime.timedelta(seconds=2)
    DirtyRow.objects.create(index_name="places", object_key=str(place.pk), created_at=old)


def test_a_search_takes_up_what_a_killed_process_left() -> None:
    if connection.vendor == "sqlite" and connection.is_in_memory_db():
        pytest.skip("threads of an in-memory database share one connection")
    from django_obc_ai.services import _sweep

    _sweep._next_look.clear()
    leave_over("Zamboanga")
    SimilaritySearchService().search("places", "Zamboanga", user=None)
    wait_for_sweeps()
    assert not DirtyRow.objects.exists()
    assert IndexingService().verify("places").is_equal


def test_the_sweep_of_the_command_takes_it_up_too() -> None:
    leave_over("Zamboanga")
    assert IndexingService().verify("places").waiting == 1
    assert run("places", "--sweep") == (0, "places: 1 changes, 1 embedded\n")
    assert IndexingService().verify("places").is_equal


def test_search_all_names_the_index_and_leaves_unbuilt_ones_out() -> None:
    Slugged.objects.create(slug="sulu", title="Sulu")
    IndexingService().index("slugs")
    found = SimilaritySearchService().search_all("Sulu", user=None, k=4)
    assert [each.index for each in found[:2]] == ["places", "slugs"]
    assert len(found) == 4


def test_find_similar_leaves_the_object_out_and_embeds_nothing() -> None:
    place = Place.objects.get(name="Place 1")
    found = SimilaritySearchService().find_similar("places", place.pk, user=None, k=100)
    assert {each.object.name for each in found} == {f"Place {n}" for n in (0, 2, 3, 4, 5)}


def test_find_similar_of_a_hidden_object_is_that_of_an_absent_one() -> None:
    owner: Any = get_user_model().objects.create(username="owner")
    hidden = Place.objects.create(name="Place 1 7", province="Sulu", is_hidden=True, owner=owner)
    service = SimilaritySearchService()
    assert service.find_similar("places", hidden.pk, user=owner)
    assert service.find_similar("places", hidden.pk, user=None) == []
    assert service.find_similar("places", 10**30, user=None) == []
    assert service.find_similar("places", "no key", user=None) == []
    shown = Place.objects.get(name="Place 1")
    found = service.find_similar("places", shown.pk, user=None, k=100)
    assert hidden not in [each.object for each in found]


def test_scores_of_a_fitted_embedder_have_two_decimals_for_the_threshold_too() -> None:
    service = SimilaritySearchService()
    for each in service.search("places", "Place", user=None):
        assert each.score == round(each.score, 2)
        again = service.search("places", "Place", user=None, threshold=each.score)
        assert each.object in [found.object for found in again]
