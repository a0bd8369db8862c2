"""Search with the own rights, and what the own calls came to."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from django_obc_ai.models import AIOperation
from django_obc_ai.querysets import current_day
from django_obc_ai.services.retention import purge_operations
from django_obc_ai.services.usage import read_usage
from django_obc_ai.testing import index_now, override_ai
from tests.api.conftest import FREE, JSON, Person, is_problem
from tests.extras import requires
from tests.testapp.models import Place

pytestmark = [pytest.mark.django_db, requires("rest_framework")]


@pytest.fixture
def places(amina: Person, omar: Person) -> None:
    Place.objects.create(name="Marawi by the lake", province="Lanao")
    Place.objects.create(name="House of omar by the lake", owner=omar.user, is_hidden=True)
    index_now("places")


@pytest.mark.usefixtures("places")
@pytest.mark.parametrize("index", [{}, {"index": "places"}])
def test_everybody_finds_what_they_may_see(
    amina: Person, omar: Person, index: dict[str, str]
) -> None:
    asked = {"query": "house by the lake", **index}
    (found,) = amina.post("search/", asked).json()["results"]
    marawi = Place.objects.get(province="Lanao")
    assert (found["index"], found["key"], found["title"]) == ("places", str(marawi.pk), str(marawi))
    assert (found["url"], found["text"]) == ("", "Marawi by the lake, Lanao")
    assert len(omar.post("search/", asked).json()["results"]) == 2


@pytest.mark.usefixtures("places")
def test_pages_modes_and_highlights_are_those_of_the_service(omar: Person) -> None:
    def search(**more: Any) -> Any:
        return omar.post("search/", {"query": "omar lake", "index": "places", **more})

    both = search().json()["results"]
    assert len(both) == 2
    for offset, each in enumerate(both):
        assert search(k=1, offset=offset).json()["results"] == [each]
        words = [each["text"][start:end] for start, end in each["highlights"]]
        assert words == (["omar", "lake"] if "omar" in each["text"] else ["lake"])
    assert search(offset=2).json()["results"] == []
    (first, second) = search(mode="lexical").json()["results"]
    assert (first["score"], second["score"]) == (1.0, 0.5)
    assert {each["key"] for each in search(mode="vector").json()["results"]} == {
        each["key"] for each in both
    }
    for wrong in ({"mode": "best"}, {"offset": -1}, {"offset": 1_001}, {"offset": "x"}):
        is_problem(search(**wrong), 400, "invalid")
    is_problem(search(mode="lexical", threshold=0.5), 400, "invalid_request")
    for alone in ({"mode": "lexical"}, {"offset": 1}):
        is_problem(omar.post("search/", {"query": "lake", **alone}), 400, "invalid")


@pytest.mark.usefixtures("places")
def test_filters_are_those_that_the_index_offers(omar: Person) -> None:
    def search(**filters: Any) -> Any:
        return omar.post("search/", {"query": "lake", "index": "places", "filters": filters})

    assert len(search(province="Lanao").json()["results"]) == 1
    assert search(province="Sulu").json()["results"] == []
    assert len(search(province__in=["Lanao", ""]).json()["results"]) == 2
    is_problem(search(owner__password="x"), 400, "invalid_request")
    is_problem(search(province__regex="x"), 400)
    is_problem(search(province__isnull="x"), 400)
    is_problem(search(province__range=[1]), 400, "invalid_request")
    for nul in ({"province": "a\0"}, {"province__in": ["\0"]}, {"province": {"\0": 1}}):
        is_problem(search(**nul), 400, "invalid")


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("places")
@pytest.mark.parametrize("filters", [{"province__iexact": True}, {"province__in": [True, "a"]}])
def test_a_value_that_only_the_database_refuses_is_no_fault_of_ours(
    omar: Person, filters: Any
) -> None:
    response = omar.post("search/", {"query": "lake", "index": "places", "filters": filters})
    assert response.status_code in (200, 400), response.content  # SQLite takes anything


@pytest.mark.parametrize("depth", [25, 300, 900, 3_000])
@pytest.mark.parametrize(("opening", "closing"), [('{"a":', "}"), ("[", "]")])
def test_what_is_nested_too_deeply_is_told(
    amina: Person, opening: str, closing: str, depth: int
) -> None:
    nested = opening * depth + "1" + closing * depth
    body = f'{{"query": "a", "index": "places", "filters": {{"province": {nested}}}}}'
    response = amina.client.post("/ai/api/search/", body, content_type=JSON)
    is_problem(response, 400, "parse_error")


@pytest.mark.usefixtures("places")
@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("/places/1/", "/places/1/"),
        ("javascript:alert(1)", ""),
        (None, ""),
        (RuntimeError("no reverse match"), ""),
    ],
)
def test_only_an_address_of_a_page_is_passed_on(
    amina: Person, monkeypatch: pytest.MonkeyPatch, url: Any, shown: str
) -> None:
    def get_absolute_url(place: Place) -> Any:
        if isinstance(url, Exception):
            raise url
        return url

    monkeypatch.setattr(Place, "get_absolute_url", get_absolute_url, raising=False)
    (found,) = amina.post("search/", {"query": "lake", "index": "places"}).json()["results"]
    assert found["url"] == shown


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"query": ""},
        {"query": "a", "k": 0},
        {"query": "a", "k": 51},
        {"query": "a", "k": "5"},
        {"query": "a", "k": True},
        {"query": "a", "threshold": 1.1},
        {"query": "a", "threshold": "NaN"},
        {"query": "a", "filters": {"province": "x"}},
        {"query": "a", "filters": []},
        {"query": "a" * 1_001},
        {"query": "a", "user": 1},
    ],
)
def test_what_does_not_fit_is_refused(amina: Person, body: Any) -> None:
    is_problem(amina.post("search/", body), 400, "invalid")


def test_an_index_that_is_not_there_or_not_built_is_told(amina: Person) -> None:
    told = is_problem(amina.post("search/", {"query": "lake", "index": "lakes"}), 404)
    assert told["detail"] == "There is no index of that name."
    is_problem(amina.post("search/", {"query": "lake", "index": "places"}), 503)


def spend(user: Any, cost: str, days: int = 0, **values: Any) -> None:
    at = timezone.now() - datetime.timedelta(days=days)
    key = getattr(user, "pk", None)
    AIOperation.objects.create(
        user_id=key, created_at=at, recorded_at=at, cost_usd=Decimal(cost), input_tokens=10,
        success=True, **values,
    )  # fmt: skip


@pytest.fixture
def spent(amina: Person, omar: Person) -> None:
    spend(amina.user, "0.000000001")
    spend(amina.user, "1.5", scope="north")
    spend(amina.user, "0", cached=True)
    spend(amina.user, "2", days=3)
    spend(amina.user, "4", days=40)
    spend(omar.user, "8", scope="north")
    spend(None, "16")


@pytest.mark.usefixtures("spent")
def test_own_calls_are_added_up_by_day(amina: Person) -> None:
    body = amina.get("usage/").json()
    today = current_day()
    assert (body["scope"], body["end"]) == (None, str(today))
    assert body["start"] == str(today - datetime.timedelta(days=29))
    assert (body["total"]["calls"], body["total"]["cached"], body["total"]["tokens"]) == (4, 1, 40)
    assert body["total"]["cost_usd"] == "3.500000001"
    assert [each["cost_usd"] for each in body["days"]] == ["2", "1.500000001"]
    assert body["days"][1]["day"] == str(today)
    first = today - datetime.timedelta(days=50)
    assert amina.get(f"usage/?start={first}").json()["total"]["cost_usd"] == "7.500000001"
    assert amina.get("usage/?end=2020-01-01").json()["days"] == []


@pytest.mark.usefixtures("spent")
def test_a_tenants_usage_needs_the_permission(amina: Person, omar: Person) -> None:
    is_problem(amina.get("usage/?scope=north"), 403, "permission_denied")
    is_problem(amina.get("usage/?scope="), 403)
    body = omar.allow("view_dashboard").get("usage/?scope=north").json()
    assert (body["scope"], body["total"]["cost_usd"]) == ("north", "9.5")
    assert omar.get("usage/?scope=").json()["total"]["calls"] == 4
    is_problem(omar.get("usage/?scope=" + "a" * 101), 400)


@pytest.mark.parametrize(
    "asked",
    [
        "start=2026-13-01",
        "start=20261101",
        "start=2026-W40-1",
        "end=0001-01-01",
        "end=9999-12-31",
        "start=2026-01-02&end=2026-01-01",
        "start=2024-01-01&end=2026-01-01",
        "user=1",
        "start=",
    ],
)
def test_days_that_do_not_fit_are_refused(amina: Person, asked: str) -> None:
    is_problem(amina.get(f"usage/?{asked}"), 400, "invalid")


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("spent")
def test_purged_calls_still_count(amina: Person) -> None:
    days = (current_day() - datetime.timedelta(days=60), current_day())
    before = [read_usage(*days, **each) for each in ({"user": amina.user}, {"scope": "north"})]
    purge_operations(datetime.timedelta(days=30))
    assert not AIOperation.objects.filter(cost_usd=4).exists()
    after = [read_usage(*days, **each) for each in ({"user": amina.user}, {"scope": "north"})]
    assert after == before
    assert after[0].total.cost_usd == Decimal("7.500000001")


def test_usage_is_of_somebody_or_of_some_tenant(amina: Person, nobody: Person) -> None:
    for whose in ({}, {"user": amina.user, "scope": "north"}):
        with pytest.raises(ValueError, match="one of the two"):
            read_usage(current_day(), current_day(), **whose)
    with override_ai(WEB={"anonymous_scope": "public", "throttles": FREE}):
        is_problem(nobody.get("usage/"), 403, "not_authenticated")
