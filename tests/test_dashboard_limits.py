"""The limits of providers on the dashboard: what is used, who is closed, where it leads."""

from __future__ import annotations

import time

import pytest
from django.test import Client

from django_obc_ai.services.pauses import pause_provider
from django_obc_ai.types.coordination import GateState
from tests.dashboard_page import read_page, rows_behind
from tests.gates import gates
from tests.test_dashboard import client, make, page_of

pytestmark = pytest.mark.django_db
USED = GateState(requests=45, tokens=200_000, today=2, in_flight=2, waiting=3, failures=4)


@pytest.fixture
def viewer() -> Client:
    return client("view_dashboard", "view_aioperation", "view_providerpause")


def test_each_limit_is_a_gauge(viewer: Client) -> None:
    with gates({"paid": USED}):
        page = page_of(viewer)
    meters = read_page(page).meters["paid"]
    told = {name: (each["data-used"], each["data-limit"]) for name, each in meters.items()}
    assert told == {
        "requests": ("45", "60"), "tokens": ("200000", "100000"), "day": ("2", "1500"),
    }  # fmt: skip
    assert 'width="75.00"' in page and 'width="100.00"' in page  # never longer than the whole
    for shown in ("under way</dt><dd>2", "waiting</dt><dd>3", "failures in a row</dt><dd>4"):
        assert shown in page
    assert "default" not in read_page(page).meters  # it has no limits


def test_requests_of_the_day_lead_to_the_operations_of_that_provider(viewer: Client) -> None:
    wanted = {make(provider="paid", attempts=each).pk for each in (1, 2)}
    make(provider="paid", cached=True, attempts=0)
    make(provider="default")
    make(2, provider="paid")
    with gates({"paid": USED}):
        meters = read_page(page_of(viewer)).meters["paid"]
        assert set(rows_behind(viewer, meters["day"]["url"])) == wanted
    assert "url" not in meters["requests"] and "url" not in meters["tokens"]


def test_a_closed_provider_stands_first_and_leads_to_its_page(viewer: Client) -> None:
    with gates({"paid": GateState(reason="quota", until=time.time() + 90)}):
        page = page_of(viewer)
        ((_, text, url),) = [c for c in read_page(page).concerns if c[0] == "provider"]
        assert viewer.get(url).status_code == 200
    assert "The provider paid is closed until" in text and "Show the providers" in text
    assert "its daily quota is used up" in page


def test_a_paused_provider_is_named(viewer: Client) -> None:
    with gates({}):
        pause_provider("default", reason="a strange bill")
        (concern,) = [c for c in read_page(page_of(viewer)).concerns if c[0] == "provider"]
    assert "The provider default is paused" in concern[1] and "a strange bill" in concern[1]


def test_fallbacks_of_today_lead_to_their_rows(viewer: Client) -> None:
    moved = make(fallback_from="dear", provider="cheap")
    make()
    make(3, fallback_from="dear")
    with gates({}):
        (concern,) = [c for c in read_page(page_of(viewer)).concerns if c[0] == "fallbacks"]
        assert set(rows_behind(viewer, concern[2])) == {moved.pk}
    assert "1 operation was sent to another provider" in concern[1]


def test_a_coordinator_that_is_away_breaks_nothing(viewer: Client) -> None:
    with gates({"paid": USED}, is_away=True):
        page = page_of(viewer)
    assert "unknown: the coordinator does not answer" in page
    assert read_page(page).meters["paid"] == {}
    assert any("The coordinator does not answer" in text for _, text, _ in read_page(page).concerns)


def test_who_may_see_neither_operations_nor_providers_sees_no_link() -> None:
    with gates({"paid": USED}):
        page = page_of(client("view_dashboard"))
    assert all("url" not in each for each in read_page(page).meters["paid"].values())
    assert "providerpause" not in page


def test_without_limits_there_is_no_panel(viewer: Client) -> None:
    with gates({}):
        assert "Limits of providers" not in page_of(viewer)
