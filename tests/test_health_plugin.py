"""The check for django-health-check, asked through its own view."""

from __future__ import annotations

import datetime
import importlib.util
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import Client, override_settings
from django.urls import include, path

from django_obc_ai.models import AIOperation
from django_obc_ai.testing import index_now, override_ai
from tests.extras import requires
from tests.fakes import KEY, KeyedProvider, entry

pytestmark = [pytest.mark.django_db(transaction=True), requires("health_check")]
LONG = {"timeout": datetime.timedelta(seconds=60)}
REPR = "AIHealthCheck(only=(), may_ping=True)"

if importlib.util.find_spec("health_check") is not None:
    import health_check
    from health_check.views import HealthCheckView

    from django_obc_ai import health

    CHECK = "django_obc_ai.health.AIHealthCheck"
    views = {
        "health": (CHECK, LONG),
        "kept": (CHECK, {**LONG, "cache_seconds": 30, "only": ("provider",)}),
        "strict": (CHECK, {**LONG, "warnings_fail": True}),
        "hasty": (CHECK, {"timeout": LONG["timeout"] / 60_000}),
    }
    urlpatterns = [
        path(f"{name}/", HealthCheckView.as_view(checks=[check])) for name, check in views.items()
    ] + [path("", include("tests.urls"))]


class PingedProvider(KeyedProvider):
    """Counts how often it was asked."""

    asked = 0

    def ping(self) -> bool:
        type(self).asked += 1
        return True


@pytest.fixture(autouse=True)
def _site(tmp_path: Path) -> Iterator[None]:
    health._kept.clear()
    PingedProvider.asked = 0
    # Its folder of templates, not the app: to load apps anew registers every check twice.
    home = Path(str(health_check.__file__)).parent
    engine = "django.template.backends.django.DjangoTemplates"
    templates = [{"BACKEND": engine, "DIRS": [home / "templates"]}]
    with override_settings(ROOT_URLCONF=__name__, TEMPLATES=templates, DEBUG=True):
        yield


@pytest.fixture
def _healthy(tmp_path: Path) -> Iterator[None]:
    with override_ai(LOG={"spool": tmp_path / "spool"}):
        index_now()
        yield


def get(page: str, kind: str = "json") -> tuple[int, str]:
    response: Any = Client().get(f"/{page}/", {"format": kind} if kind != "html" else {})
    return response.status_code, response.content.decode()


@pytest.mark.usefixtures("_healthy")
def test_a_healthy_site_is_200_as_json_text_and_html() -> None:
    status, body = get("health")
    assert (status, body) == (200, f'{{"{REPR}": "OK"}}')
    assert get("health", "text") == (200, f"{REPR}: OK\n")
    status, page = get("health", "html")
    assert status == 200 and "AIHealthCheck" in page
    assert "django_health_check_overall_status 1" in get("health", "openmetrics")[1]


def test_what_is_broken_is_500_and_named() -> None:
    provider = entry(KeyedProvider, api_key="")
    with override_ai(PROVIDERS=provider):
        index_now()
        for kind in ("json", "html"):
            status, body = get("health", kind)
            assert status == 500
            assert "provider default: OBC_AI[" in body and "has no API key." in body
            assert "OPTIONS[" not in body  # hints are for those who have a shell


def test_what_cannot_be_told_is_500_too() -> None:
    with override_ai():
        index_now()
        status, body = get("hasty")
    assert status == 500 and "did not answer within 0.001 seconds" in body


@pytest.mark.usefixtures("_healthy")
def test_a_warning_is_200_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    with override_settings(DEBUG=False):
        assert get("health")[0] == 200
        assert get("health")[0] == 200
    told = [each for each in caplog.records if each.name == "django_obc_ai.health"]
    assert [vars(each)["part"] for each in told] == ["cost store default", "response cache"]
    assert told[0].levelno == logging.WARNING


@pytest.mark.usefixtures("_healthy")
def test_a_page_for_people_may_fail_on_warnings() -> None:
    assert get("strict")[0] == 200
    with override_settings(DEBUG=False):
        status, body = get("strict")
    assert status == 500 and "Warning: cost store default: " in body


def test_frequent_probes_share_a_report(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(health, "_clock", lambda: now[0])
    with override_ai(PROVIDERS=entry(PingedProvider, api_key=KEY)):
        for _ in range(5):
            status, body = get("kept")
            assert status == 200 and "only=(&#x27;provider" not in body
        assert PingedProvider.asked == 1
        now[0] += 30
        get("kept")
        assert PingedProvider.asked == 2
        for _ in range(2):
            get("health")
        assert PingedProvider.asked == 4


def test_no_probe_spends_anything_or_tells_a_key() -> None:
    with override_ai(PROVIDERS=entry(KeyedProvider, api_key=KEY)):
        for kind in ("json", "html", "text"):
            assert KEY[:8] not in get("health", kind)[1]
    assert not AIOperation.objects.exists()
