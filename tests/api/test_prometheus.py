"""The scrape: what it holds, who may read it, and that every process says the same."""

from __future__ import annotations

import random
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import Permission
from django.test import Client, override_settings

from django_obc_ai.api.prometheus import LedgerCollector
from django_obc_ai.conf import find_errors, get_settings
from django_obc_ai.models import AIOperation
from django_obc_ai.services import _ledger_total
from django_obc_ai.services.metrics import METRICS, prepare
from django_obc_ai.testing import override_ai
from tests.extras import requires
from tests.services.test_metrics import fill

pytestmark = [pytest.mark.django_db, requires("prometheus_client")]
TOKEN = "a-token-that-nobody-guesses"


@pytest.fixture(autouse=True)
def _with_a_token() -> Iterator[None]:
    _ledger_total.forget()
    with override_ai(METRICS={"token": TOKEN}):
        yield
    _ledger_total.forget()


def scrape(token: str | None = TOKEN, **headers: str) -> Any:
    headers |= {} if token is None else {"Authorization": f"Bearer {token}"}
    return Client().get("/metrics", headers=headers)


def samples(text: str) -> dict[tuple[str, ...], float]:
    from prometheus_client.parser import text_string_to_metric_families

    return {
        (each.name, *each.labels.values()): each.value
        for family in text_string_to_metric_families(text)
        for each in family.samples
    }


def test_the_scrape_is_what_prometheus_reads_and_equals_the_ledger() -> None:
    rows = fill(random.Random(1), 200)
    prepare()
    response = scrape()
    assert response["Content-Type"].startswith("text/plain; version=0.0.4")
    assert "no-cache" in response["Cache-Control"]
    found = samples(response.text)
    cost = AIOperation.objects.all().total_cost()
    assert round(found["obc_ai_cost_dollars",] * 1e9) == int(cost * 10**9)
    paid = sum(each.success and not (each.cached or each.coalesced) for each in rows)
    assert found["obc_ai_response_seconds_count",] == paid
    assert found["obc_ai_operations_total", "failed"] == sum(not each.success for each in rows)


def test_the_scrape_is_open_metrics_for_who_asks_for_it() -> None:
    response = scrape(Accept="application/openmetrics-text; version=1.0.0")
    assert response["Content-Type"].startswith("application/openmetrics-text")
    assert response.text.endswith("# EOF\n")


def test_names_and_units_are_as_prometheus_wants_them() -> None:
    for metric in METRICS:
        assert metric.name.startswith("obc_ai_")
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert metric.help.endswith(".")
        assert not metric.name.endswith(("_ms", "_usd", "_percent", "_nano"))


# --- who may read it ---------------------------------------------------------------------------
@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN[:-1], TOKEN + "x", "pässword"])
def test_without_the_token_nothing_is_told(token: str | None) -> None:
    fill(random.Random(1), 5)
    response = scrape(token)
    assert (response.status_code, response.text) == (401, "Unauthorized.\n")
    assert response["WWW-Authenticate"] == 'Bearer realm="metrics"'


def test_the_token_counts_as_bearer_only() -> None:
    for scheme in ("Basic", "Token", TOKEN):
        answer = Client().get("/metrics", headers={"Authorization": f"{scheme} {TOKEN}"})
        assert answer.status_code == 401
    assert Client().get("/metrics", headers={"Authorization": TOKEN}).status_code == 401
    assert Client().get("/metrics", {"token": TOKEN}).status_code == 401


def test_without_a_setting_no_token_fits() -> None:
    with override_ai(METRICS={}):
        for token in (None, "", "None", TOKEN):
            assert scrape(token).status_code == 401


def test_people_need_the_permission_of_the_dashboard(django_user_model: Any) -> None:
    user = django_user_model.objects.create(username="u", is_staff=True)
    client = Client()
    client.force_login(user)
    assert client.get("/metrics").status_code == 401
    user.user_permissions.add(Permission.objects.get(codename="view_dashboard"))
    assert client.get("/metrics").status_code == 200
    user.is_active = False
    user.save()
    assert client.get("/metrics").status_code == 401


def test_a_site_that_wants_everybody_logged_in_lets_the_token_in() -> None:
    everybody = "django.contrib.auth.middleware.LoginRequiredMiddleware"
    with override_settings(MIDDLEWARE=[*settings.MIDDLEWARE, everybody]):
        assert scrape().status_code == 200
        assert scrape(None).status_code == 401


def test_nothing_can_be_sent_to_it() -> None:
    for method in ("post", "put", "delete"):
        assert getattr(Client(), method)("/metrics").status_code == 405
    assert Client().head("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).text == ""


@pytest.mark.parametrize("token", ["", "short", 12345678901234567, "with a space in it", "ä" * 20])
def test_a_token_that_can_be_guessed_or_not_be_sent_is_refused(token: Any) -> None:
    with override_ai(METRICS={"token": token}):
        (error,) = find_errors()
    assert "OBC_AI['METRICS']['token']" in str(error)
    assert not token or str(token) not in str(error)


def test_the_token_is_not_shown() -> None:
    assert TOKEN not in repr(get_settings())


# --- the collector -----------------------------------------------------------------------------
def test_registering_the_collector_reads_nothing(django_assert_num_queries: Any) -> None:
    from prometheus_client import CollectorRegistry

    registry = CollectorRegistry(auto_describe=True)
    collector: Any = LedgerCollector()
    with django_assert_num_queries(0):
        registry.register(collector)
    assert registry.get_sample_value("obc_ai_part_up", {"part": "ledger"}) == 1


def test_a_part_that_fails_leaves_a_scrape_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: Any) -> int:
        raise RuntimeError("secret detail")

    monkeypatch.setattr("django_obc_ai.services.rollups.roll_up", fail)
    response = scrape()
    found = samples(response.text)
    assert (found["obc_ai_part_up", "ledger"], found["obc_ai_part_up", "spool"]) == (0, 1)
    assert "secret detail" not in response.text
    assert "obc_ai_cost_dollars" not in response.text


def test_money_is_exact_to_the_nano_dollar_up_to_four_million_dollars() -> None:
    chance = random.Random(3)
    for nano in [chance.randrange(4 * 10**15) for _ in range(2_000)]:
        told = repr(float(Decimal(nano).scaleb(-9)))
        assert round(Decimal(told).scaleb(9)) == nano
