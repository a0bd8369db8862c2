"""The admin's page of one index: its figures, its builds, and failures that are tried again."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_obc_ai.indexes import generations, get_index
from django_obc_ai.models import DirtyRow, IndexFailure, IndexGeneration
from django_obc_ai.services import index_failures
from django_obc_ai.services.indexing import IndexingService
from django_obc_ai.testing import override_ai
from tests.test_admin import _client, text_of
from tests.test_admin_operators import said, url
from tests.testapp.models import Place

pytestmark = pytest.mark.django_db(transaction=True)
PAGE = "change"


@pytest.fixture(autouse=True)
def _fresh_stores() -> Iterator[None]:
    with override_ai():
        yield


@pytest.fixture
def operator() -> Client:
    return _client("view_indexstate", "change_indexstate", "rebuild_index")


@pytest.fixture
def failed() -> list[Place]:
    Place.objects.bulk_create([Place(name="Sulu")])
    found = Place.objects.bulk_create([Place(name="unreadable") for _ in range(3)])
    IndexingService().index("places")
    return found


def page(client: Client, **query: Any) -> str:
    return text_of(client.get(url("indexstate", PAGE, "places"), query))


def test_it_shows_figures_and_failures(failed: list[Place], operator: Client) -> None:
    serving = generations.serving_of(get_index("places"))
    assert serving is not None
    text = page(operator)
    for fact in ("current", str(serving.pk), "exact search", "hashing"):
        assert fact in text
    assert "RuntimeError" in text
    for place in failed:
        assert f'value="{place.pk}"' in text
    assert url("indexstate", "rebuild", "places") in text
    listing = text_of(operator.get(url("indexstate", "changelist")))
    assert url("indexstate", PAGE, "places") in listing


def test_an_index_that_was_never_built_has_a_page(operator: Client) -> None:
    text = page(operator)
    assert "not built" in text and "Build" in text


def test_an_unknown_index_has_none(operator: Client) -> None:
    assert operator.get(url("indexstate", PAGE, "gone")).status_code == 404
    assert operator.post(url("indexstate", "retry", "gone")).status_code == 404


def test_what_is_ticked_is_tried_again_and_the_rest_is_not(
    failed: list[Place], operator: Client
) -> None:
    Place.objects.filter(pk__in=[each.pk for each in failed]).update(name="Readable")
    keys = [str(each.pk) for each in failed]
    address = url("indexstate", "retry", "places")
    shown = text_of(operator.post(address, {"key": [*keys[:2], "999", "<x>"]}, follow=True))
    assert "Had 2 failed objects tried again. 1 failures are left now." in shown
    assert [each.object_key for each in IndexFailure.objects.all()] == keys[2:]
    assert said() == [("staff0", "places", "Had 2 failed objects tried again.")]
    text_of(operator.post(address, {"all": "1"}, follow=True))
    assert not IndexFailure.objects.exists() and not DirtyRow.objects.exists()
    nothing = text_of(operator.post(address, {"key": ["1"]}, follow=True))
    assert "nothing was ticked that had failed" in nothing
    assert len(said()) == 2


def test_what_fails_again_stays_with_one_more_attempt(
    failed: list[Place], operator: Client
) -> None:
    operator.post(url("indexstate", "retry", "places"), {"all": "1"})
    assert set(IndexFailure.objects.values_list("attempts", flat=True)) == {2}


def test_many_wait_for_the_command(
    failed: list[Place], operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_failures, "AT_ONCE", 2)
    operator.post(url("indexstate", "retry", "places"), {"all": "1"})
    assert (IndexFailure.objects.count(), DirtyRow.objects.count()) == (3, 3)
    Place.objects.update(name="Readable")
    IndexingService().sweep("places")
    assert (IndexFailure.objects.count(), DirtyRow.objects.count()) == (0, 0)


@pytest.mark.parametrize(
    ("permissions", "sees", "retries"),
    [
        (["view_indexstate"], 200, 403),
        (["view_indexstate", "change_indexstate"], 200, 403),
        (["view_indexstate", "rebuild_index"], 200, 302),
        (["rebuild_index"], 403, 403),
        (["view_chunk"], 403, 403),
    ],
)
def test_each_page_takes_its_permission(
    failed: list[Place], permissions: list[str], sees: int, retries: int
) -> None:
    client = _client(*permissions)
    answer = client.get(url("indexstate", PAGE, "places"))
    assert answer.status_code == sees
    if sees == 200:
        assert ("Retry all" in text_of(answer)) is (retries == 302)
    assert client.get(url("indexstate", "retry", "places")).status_code == (
        405 if retries == 302 else 403
    )
    assert client.post(url("indexstate", "retry", "places"), {"all": "1"}).status_code == retries
    assert bool(said()) is (retries == 302)


def test_a_retry_needs_its_token(failed: list[Place], operator: Client) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = operator.cookies
    assert strict.post(url("indexstate", "retry", "places"), {"all": "1"}).status_code == 403


def test_hostile_keys_are_text(operator: Client) -> None:
    IndexingService().index("slugs")
    hostile = ['"><script>alert(1)</script>', "a/b?c#d%2F", "{{ x }}", "x" * 255]
    IndexFailure.objects.bulk_create(
        IndexFailure(index_name="slugs", object_key=key, error="<b>E</b>") for key in hostile
    )
    text = text_of(operator.get(url("indexstate", PAGE, "slugs")))
    assert "<script>alert" not in text and "<b>E</b>" not in text
    assert "&quot;&gt;&lt;script&gt;alert(1)" in text
    operator.post(url("indexstate", "retry", "slugs"), {"key": hostile})
    assert not IndexFailure.objects.exists()  # no such rows: nothing that could fail


def test_queries_do_not_grow_and_failures_come_in_pages(operator: Client) -> None:
    IndexingService().index("places")
    counts = []
    for number in (1, 149):
        have = IndexFailure.objects.count()
        IndexFailure.objects.bulk_create(
            IndexFailure(index_name="places", object_key=f"{have + n:05}", error="ValueError")
            for n in range(number)
        )
        page(operator)
        with CaptureQueriesContext(connection) as captured:
            page(operator)
        counts.append(len(captured))
    assert counts[0] == counts[1]
    assert page(operator).count('name="key"') == 100
    second = page(operator, p="2")
    assert second.count('name="key"') == 50 and "Page 2 of 2" in second
    assert page(operator, p="drop table").count('name="key"') == 100


def test_a_build_under_way_says_how_long_it_takes(operator: Client) -> None:
    Place.objects.bulk_create(Place(name=f"Place {n}") for n in range(40))
    IndexingService().index("places")
    serving = generations.serving_of(get_index("places"))
    assert serving is not None
    IndexingService().index("places", rebuild=True, limit=10, batch_size=10)
    build = IndexGeneration.objects.exclude(pk=serving.pk).get()
    now = timezone.now()
    times = {"created_at": now - datetime.timedelta(seconds=100), "updated_at": now}
    IndexGeneration.objects.filter(pk=build.pk).update(**times)
    text = page(operator)
    assert "10 objects, 25%" in text and "about 5 min 0 s left" in text
    assert 'value="0.2500"' in text
    old = {"updated_at": now - datetime.timedelta(minutes=10)}
    IndexGeneration.objects.filter(pk=build.pk).update(**old)
    assert "nobody works on it" in page(operator)
