"""The health report: what is broken, what to do, and what could not be told."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.cache.backends.locmem import LocMemCache
from django.db import connection
from django.test import override_settings
from django.utils import timezone

from django_obc_ai import __version__
from django_obc_ai.backends.vector_stores.numpy import NumpyVectorStore
from django_obc_ai.exceptions import AuthenticationError
from django_obc_ai.models import AIOperation, DirtyRow, IndexState
from django_obc_ai.services.health import HealthItem, HealthReport, check_health
from django_obc_ai.testing import index_now, override_ai
from tests.extras import is_installed
from tests.fakes import (
    KEY,
    AbsentStore,
    CountedEmbedder,
    FussyProvider,
    KeyedProvider,
    TellingProvider,
    TinyEmbedder,
    entry,
)
from tests.testapp.models import Place

pytestmark = pytest.mark.django_db
INDEXES = ("places", "uuids", "slugs", "composites")


@pytest.fixture(autouse=True)
def _built_indexes() -> Iterator[None]:
    with override_ai():
        index_now()
        yield


class BrokenStore(NumpyVectorStore):
    """Fails while it is looked at."""

    def check(self, setting: str) -> Any:
        raise RuntimeError("the disk is on fire")


class ForgetfulCache(LocMemCache):
    """Keeps nothing, as a full or a dummy cache does."""

    def set(self, *args: Any, **kwargs: Any) -> None:
        """Lose the value."""


def report(**obc_ai: Any) -> HealthReport:
    with override_ai(**obc_ai):
        return check_health()


def item(name: str, given: HealthReport) -> HealthItem:
    (found,) = [each for each in given.items if each.name == name]
    return found


def test_embedded_defaults_are_healthy_and_named(tmp_path: Path) -> None:
    files = "django.core.cache.backends.filebased.FileBasedCache"
    caches = {"default": {"BACKEND": files, "LOCATION": tmp_path / "cache"}}
    with override_settings(OBC_AI={}, BASE_DIR=tmp_path, CACHES=caches):
        index_now()
        found = check_health()
    assert found.exit_code == 0
    assert {each.status for each in found.items} == {"ok"}
    assert [each.name for each in found.items] == [
        "settings",
        "provider default",
        "embedder default",
        "vector store default",
        "lexical store default",
        "cost store default",
        "coordinator default",
        "database default",
        "task runner default",
        "jobs",
        "workers",
        "schedule",
        "pauses",
        "spool",
        "budgets",
        "ledger drift",
        "rollups",
        "response cache",
        *(f"index {name}" for name in sorted(INDEXES)),
        "disk",
    ]
    assert f"django-obc-ai {__version__}, Django " in item("settings", found).detail
    provider = item("provider default", found)
    assert "OfflineProvider" in provider.message
    assert "offline: no language model is asked" in provider.message
    assert item("embedder default", found).message == "HashingEmbedder, lexical: matches spelling."
    store = "FaissVectorStore." if is_installed("faiss") else "NumpyVectorStore."
    assert item("vector store default", found).message == store
    assert item("lexical store default", found).message == "BM25LexicalStore."
    assert item("cost store default", found).message == "DatabaseCostStore."
    assert provider.detail == "django_obc_ai.backends.providers.offline.OfflineProvider"


def test_looking_spends_nothing_and_calls_nobody() -> None:
    found = report(PROVIDERS=entry(KeyedProvider, api_key=KEY))
    assert item("provider default", found).message == "KeyedProvider, model fake-1."
    assert "live call" not in [each.name for each in found.items]
    assert AIOperation.objects.count() == 0


def test_every_alias_is_looked_at() -> None:
    family = {**entry(CountedEmbedder), "letters": entry(TinyEmbedder)["default"]}
    found = report(EMBEDDERS=family)
    assert item("embedder letters", found).message == "TinyEmbedder."
    assert item("embedder letters", found).detail == "tests.fakes.TinyEmbedder"


# --- broken --------------------------------------------------------------------------------------
def test_broken_settings_are_all_named_and_nothing_else_is_tried() -> None:
    with override_settings(OBC_AI={"PROVIDER": {}, "RETRY": 3}):
        found = check_health()
    assert found.exit_code == 1
    assert [(each.name, each.status) for each in found.items] == [("settings", "error")] * 2
    assert found.items[0].message == "OBC_AI has the unknown key 'PROVIDER'."
    assert found.items[0].hint == "Did you mean 'PROVIDERS'?"


@pytest.mark.parametrize(
    ("name", "obc_ai", "message", "hint"),
    [
        (
            "provider default",
            {"PROVIDERS": entry("no.such.Provider")},
            "OBC_AI['PROVIDERS']['default']['BACKEND'] cannot be imported",
            "Check the dotted path",
        ),
        (
            "vector store default",
            {"VECTOR_STORES": entry(AbsentStore)},
            "AbsentStore needs the package",
            'python -m pip install "django-obc-ai[absent]"',
        ),
        (
            "provider default",
            {"PROVIDERS": entry(KeyedProvider, api_key="")},
            "OBC_AI['PROVIDERS']['default'] has no API key.",
            "OPTIONS['api_key']",
        ),
        (
            "provider default",
            {"PROVIDERS": entry(FussyProvider, api_key=KEY)},
            "OBC_AI['PROVIDERS']['default'] is broken.",
            "Mend it.",
        ),
        (
            "database nowhere",
            {"DATABASE": "nowhere"},
            "OBC_AI['DATABASE'] names 'nowhere', which DATABASES lacks.",
            "Valid names: default",
        ),
        (
            "response cache",
            {"CACHE": {"alias": "nowhere"}},
            "OBC_AI['CACHE']['alias'] names 'nowhere', which CACHES lacks.",
            "Valid names: default",
        ),
    ],
)
def test_what_is_configured_wrongly_is_an_error_that_says_what_to_do(
    name: str, obc_ai: dict[str, Any], message: str, hint: str
) -> None:
    found = report(**obc_ai)
    assert found.exit_code == 1
    assert item(name, found).status == "error"
    assert message in item(name, found).message
    assert hint in item(name, found).hint
    assert item("settings", found).status == "ok"


def test_an_index_of_another_embedder_is_an_error() -> None:
    found = report(EMBEDDERS=entry(TinyEmbedder))
    index = item("index places", found)
    assert (found.exit_code, index.status) == (1, "error")
    assert "another embedder or text template" in index.message
    assert index.hint == "Run: manage.py ai_index places"


# --- warnings ------------------------------------------------------------------------------------
def test_an_index_that_was_never_built_is_a_warning() -> None:
    IndexState.objects.filter(pk="places").delete()
    found = check_health()
    index = item("index places", found)
    assert (found.exit_code, index.status, index.message) == (0, "warning", "Not built yet.")
    assert index.hint == "Run: manage.py ai_index places"


def test_waiting_changes_are_a_warning() -> None:
    place = Place.objects.create(name="Poblacion")
    index = item("index places", check_health())
    assert (index.status, index.message) == ("ok", "0 chunks; 1 changes are being indexed.")
    for hours, told in ((0.05, "3 minutes"), (3, "3 hours"), (72, "3 days")):
        since = timezone.now() - datetime.timedelta(hours=hours)
        DirtyRow.objects.update(created_at=since)
        index = item("index places", check_health())
        assert index.status == "warning"
        message = f"1 changes wait to be indexed, the oldest for {told}: {place.pk}."
        assert index.message == message
        assert index.hint.startswith("Run: manage.py ai_index places and look at the log")


def test_a_current_index_tells_its_size() -> None:
    Place.objects.create(name="Poblacion")
    index_now("places")
    assert item("index places", check_health()).message == "1 chunks, up to date."


def test_a_cache_that_keeps_nothing_is_a_warning() -> None:
    path = f"{ForgetfulCache.__module__}.ForgetfulCache"
    with (
        override_ai(CACHE={"alias": "poor"}),
        override_settings(CACHES={"poor": {"BACKEND": path}}),
    ):
        found = check_health()
    cache = item("response cache", found)
    assert (found.exit_code, cache.status) == (0, "warning")
    assert "answers are paid twice" in cache.message
    assert "OBC_AI['CACHE']['alias']" in cache.hint


def test_a_cache_that_is_switched_off_is_fine() -> None:
    cache = item("response cache", report(CACHE={"alias": None}))
    assert (cache.status, cache.message) == ("ok", "Switched off.")


# --- what could not be told ----------------------------------------------------------------------
def test_what_fails_while_it_is_looked_at_is_unknown_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.ERROR, "django_obc_ai.health"):
        found = report(VECTOR_STORES=entry(BrokenStore))
    store = item("vector store default", found)
    assert (found.exit_code, store.status) == (2, "unknown")
    assert store.message == "Could not be checked (RuntimeError)."
    assert store.hint == "See the log of django_obc_ai.health."
    assert "The health check of vector store default failed." in caplog.text
    assert "RuntimeError at " in caplog.text and "test_health.py:" in caplog.text
    assert "the disk is on fire" not in caplog.text  # such a text may quote anything


def test_broken_outweighs_unknown() -> None:
    found = report(VECTOR_STORES=entry(BrokenStore), PROVIDERS=entry("no.such.Provider"))
    assert {"error", "unknown"} <= {each.status for each in found.items}
    assert found.exit_code == 1


@pytest.mark.django_db(transaction=True)
def test_a_missing_table_of_the_index_is_unknown() -> None:
    table = DirtyRow._meta.db_table
    with connection.schema_editor() as editor:
        editor.alter_db_table(DirtyRow, table, "hidden_dirty")
    try:
        found = check_health()
    finally:
        with connection.schema_editor() as editor:
            editor.alter_db_table(DirtyRow, "hidden_dirty", table)
    assert item("index places", found).status == "unknown"
    assert item("database default", found).status == "ok"
    assert found.exit_code == 2


# --- the live call -------------------------------------------------------------------------------
def test_a_live_call_is_made_and_logged_only_if_asked_for() -> None:
    found = check_health(is_live=True)
    live = item("live call", found)
    assert live.status == "ok"
    assert live.message.startswith("offline answer from ")
    assert live.message.endswith(", $0.")
    operation = AIOperation.objects.get()
    assert (operation.operation_type, operation.success) == ("health_check", True)


def test_a_live_call_that_fails_is_an_error() -> None:
    with override_ai(script=[AuthenticationError("The key was refused.")]) as ai:
        found = check_health(is_live=True)
        assert len(ai.provider.requests) == 1
    live = item("live call", found)
    assert (found.exit_code, live.status) == (1, "error")
    assert "The key was refused." in live.message


def test_no_part_of_a_key_is_in_any_report_or_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        for backend in (KeyedProvider, TellingProvider, FussyProvider):
            with override_ai(PROVIDERS=entry(backend, api_key=KEY)):
                for is_live in (False, True):
                    found = check_health(is_live=is_live)
                    assert len(found.items) > 8
                    for part in (KEY, KEY[:12], KEY[-8:]):
                        assert part not in repr(found)
    assert KEY not in caplog.text
