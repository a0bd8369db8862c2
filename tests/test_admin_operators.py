"""The pages of operators: indexes and providers; every action audited and permitted."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core.management import CommandError, call_command
from django.test import Client, override_settings
from django.urls import reverse
from django.utils import timezone

from django_obc_ai.models import Chunk, DirtyRow, IndexRequest, ProviderPause
from django_obc_ai.services import index_requests
from django_obc_ai.services.index_requests import estimate_usd
from django_obc_ai.services.indexing import IndexingService
from django_obc_ai.services.pauses import pause_provider
from django_obc_ai.services.text import TextService
from django_obc_ai.testing import override_ai
from tests.extras import requires
from tests.gateway.test_embed import GENAI, settings_of
from tests.servers.gemini import GeminiServer
from tests.test_admin import _client, make, text_of
from tests.testapp.models import Place

pytestmark = pytest.mark.django_db
URL = "admin:django_obc_ai_{}_{}"
OFFLINE = "django_obc_ai.backends.providers.offline.OfflineProvider"
GEMINI = "django_obc_ai.backends.providers.google_genai.GoogleGenAIProvider"
PROVIDERS = {
    "default": {"BACKEND": OFFLINE},
    "gemini": {"BACKEND": GEMINI, "OPTIONS": {"api_key": "a-secret-key", "model": "gemini-x"}},
}


def url(model: str, page: str, *arguments: Any) -> str:
    return reverse(URL.format(model, page), args=arguments)


def said() -> list[tuple[str, str, str]]:
    """Who did what to what, as the history has it."""
    return [
        (each.user.get_username(), each.object_repr, each.get_change_message())
        for each in LogEntry.objects.order_by("pk")
    ]


@pytest.fixture(autouse=True)
def _fresh_stores() -> Iterator[None]:
    with override_ai():
        yield


@pytest.fixture
def places() -> list[Place]:
    found = Place.objects.bulk_create([Place(name=f"Place {n}") for n in range(3)])
    IndexingService().index("places")
    return found


@pytest.fixture
def operator() -> Client:
    return _client("view_indexstate", "change_indexstate", "rebuild_index")


def wait(*keys: Any) -> None:
    DirtyRow.objects.bulk_create(
        [DirtyRow(index_name="places", object_key=str(key)) for key in keys]
    )


# --- indexes -----------------------------------------------------------------------------------


def test_every_registered_index_is_listed(places: list[Place], operator: Client) -> None:
    wait(places[0].pk)
    page = text_of(operator.get(url("indexstate", "changelist")))
    for shown in ("places", "slugs", "uuids", "composites", "not built", "behind", "Hashing"):
        assert shown in page
    assert url("indexstate", "sweep", "places") in page
    assert url("indexstate", "sweep", "slugs") not in page  # nothing waits there
    assert url("indexstate", "rebuild", "slugs") in page


def test_little_work_is_done_at_once_and_audited(places: list[Place], operator: Client) -> None:
    Place.objects.filter(pk=places[0].pk).update(name="Marawi")
    wait(places[0].pk)
    page = text_of(operator.get(url("indexstate", "sweep", "places")))
    assert "1 changed rows wait." in page and "costs nothing" in page and "at once" in page
    assert DirtyRow.objects.exists()  # asking is not doing
    shown = text_of(operator.post(url("indexstate", "sweep", "places"), follow=True))
    assert "Done: index what waits. 1 rows, 1 texts embedded." in shown
    assert not DirtyRow.objects.exists()
    assert Chunk.objects.filter(text__startswith="Marawi").exists()
    assert said() == [("staff0", "places", "Done: index what waits. 1 rows, 1 texts embedded.")]


def test_rows_without_a_readable_text_wait_on_and_are_told(
    places: list[Place], operator: Client
) -> None:
    Place.objects.filter(pk=places[0].pk).update(name="unreadable")
    wait(places[0].pk)
    shown = text_of(operator.post(url("indexstate", "sweep", "places"), follow=True))
    assert "1 rows have no readable text; they wait on." in shown
    assert DirtyRow.objects.count() == 1
    Place.objects.filter(pk=places[0].pk).update(name="readable")
    operator.post(url("indexstate", "sweep", "places"))  # retried
    assert not DirtyRow.objects.exists()


def test_much_work_is_written_down_and_the_command_does_it(
    places: list[Place], operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_requests, "AT_ONCE", 2)
    before = Chunk.objects.first()
    assert before is not None
    shown = text_of(operator.post(url("indexstate", "rebuild", "places"), follow=True))
    assert "Requested: rebuild. The next run of “manage.py ai_index --requested” does it." in shown
    assert "requested: rebuild, staff0" in shown
    assert IndexRequest.objects.get().requested_by == "staff0"
    out = StringIO()
    call_command("ai_index", "--requested", stdout=out)
    assert out.getvalue() == "places: 3 rows, 0 embedded (new generation: rebuild)\n"
    assert not IndexRequest.objects.exists()
    after = Chunk.objects.first()
    assert after is not None and after.generation_id != before.generation_id
    again = StringIO()
    call_command("ai_index", "--requested", stdout=again)
    assert again.getvalue() == ""


def test_what_fails_stays_requested(places: list[Place]) -> None:
    IndexRequest.objects.create(name="places", kind="rebuild")
    broken = {"default": {"BACKEND": "no.such.Embedder"}}
    with override_ai(EMBEDDERS=broken), pytest.raises(CommandError, match="no\\.such"):
        call_command("ai_index", "--requested")
    assert IndexRequest.objects.exists()


def test_a_request_can_be_withdrawn(places: list[Place], operator: Client) -> None:
    IndexRequest.objects.create(name="places", kind="rebuild", requested_by="omar")
    page = text_of(operator.get(url("indexstate", "withdraw", "places")))
    assert "Requested: rebuild." in page
    operator.post(url("indexstate", "withdraw", "places"))
    assert not IndexRequest.objects.exists()
    assert said() == [("staff0", "places", "Withdrew the request.")]


def test_a_broken_embedder_is_shown_and_what_was_tried_is_audited(
    places: list[Place], operator: Client
) -> None:
    with override_ai(EMBEDDERS={"default": {"BACKEND": "no.such.Embedder"}}):
        assert "broken" in text_of(operator.get(url("indexstate", "changelist")))
        shown = text_of(operator.post(url("indexstate", "rebuild", "places"), follow=True))
    assert "cannot be imported" in shown
    assert said() == [("staff0", "places", "Tried: rebuild; it failed.")]


def test_an_unknown_index_is_not_found(operator: Client) -> None:
    assert operator.get(url("indexstate", "rebuild", "gone")).status_code == 404


@pytest.mark.parametrize(
    ("permissions", "allowed"),
    [
        (["view_indexstate"], set()),
        (["view_indexstate", "change_indexstate"], {"sweep", "withdraw"}),
        (["view_indexstate", "rebuild_index"], {"rebuild"}),
        (["rebuild_index"], set()),
    ],
)
def test_each_action_on_an_index_takes_its_permission(
    permissions: list[str], allowed: set[str], places: list[Place]
) -> None:
    wait(places[0].pk)
    IndexRequest.objects.create(name="places", kind="sweep")
    client = _client(*permissions)
    for action in ("sweep", "rebuild", "withdraw"):
        status = 200 if action in allowed else 403
        assert client.get(url("indexstate", action, "places")).status_code == status
        if status == 403:
            assert client.post(url("indexstate", action, "places")).status_code == 403
    listing = client.get(url("indexstate", "changelist"))
    if "view_indexstate" not in permissions:
        assert listing.status_code == 403
        return
    page = text_of(listing)
    for action in ("sweep", "rebuild", "withdraw"):
        assert (url("indexstate", action, "places") in page) is (action in allowed)
    assert LogEntry.objects.count() == 0


@requires("google.genai")
def test_what_a_paid_embedder_takes_is_said_before(
    gemini_server: GeminiServer, operator: Client
) -> None:
    Place.objects.bulk_create([Place(name=f"Barangay number {n}") for n in range(250)])
    with override_ai(**settings_of(GENAI, gemini_server)):
        estimate = IndexingService().estimate("places")
        about = estimate_usd("places", 250)
        assert about is not None and estimate.cost_usd is not None
        assert abs(about - estimate.cost_usd) < estimate.cost_usd / 10
        page = text_of(operator.get(url("indexstate", "rebuild", "places")))
        assert f"about ${about:.4f} if every text is" in page
        assert "written down" in page
        assert gemini_server.journal == []
        IndexingService().index("places")
        Place.objects.filter(pk__in=Place.objects.values("pk")[:3]).update(name="unreadable")
        IndexingService().index("places", rebuild=True)
        before = len(gemini_server.journal)
        page = text_of(operator.get(url("indexstate", "change", "places")))
        assert "All of them at once: The embedder is paid for. This costs about" in page
        assert len(gemini_server.journal) == before


# --- providers ---------------------------------------------------------------------------------


@pytest.fixture
def providers() -> Iterator[None]:
    with override_ai(PROVIDERS=PROVIDERS):
        yield


def pauser() -> Client:
    return _client(
        "view_providerpause", "add_providerpause", "change_providerpause", "delete_providerpause"
    )


def test_providers_are_listed_without_their_keys(providers: None) -> None:
    make(provider="default", created_at=timezone.now())
    make(provider="gemini", success=False, error_category="timeout")
    page = text_of(pauser().get(url("providerpause", "changelist")))
    for shown in ("OfflineProvider", "GoogleGenAIProvider, gemini-x", "timeout"):
        assert shown in page
    assert "a-secret-key" not in page


def test_a_provider_is_paused_and_resumed_and_both_are_audited(providers: None) -> None:
    client = pauser()
    add = url("providerpause", "add")
    assert '<option value="gemini" selected>' in text_of(client.get(add, {"alias": "gemini"}))
    form = {"alias": "default", "reason": "a strange bill", "until_0": "", "until_1": ""}
    shown = text_of(client.post(add, form, follow=True))
    assert "default is paused: new calls are refused." in shown
    assert "by staff0" in shown and "a strange bill" in shown
    assert TextService().generate_text("Q").error == "provider_paused"
    delete = url("providerpause", "delete", "default")
    assert "Resume default?" in text_of(client.get(delete))
    assert ProviderPause.objects.exists()  # asking is not doing
    shown = text_of(client.post(delete, {"post": "yes"}, follow=True))
    assert "default is resumed: it is asked again." in shown
    assert TextService().generate_text("Q").success
    assert said() == [
        ("staff0", "default", "Paused: a strange bill"),
        ("staff0", "default", "Resumed."),
    ]


def test_a_pause_can_be_given_an_end(providers: None) -> None:
    client, now = pauser(), timezone.localtime()
    pause_provider("default", reason="x")
    change = url("providerpause", "change", "default")
    past = {"reason": "y", "until_0": "2020-01-01", "until_1": "10:00"}
    assert "That is over already" in text_of(client.post(change, past))
    later = now + datetime.timedelta(days=2)
    client.post(change, {"reason": "y", "until_0": f"{later:%Y-%m-%d}", "until_1": "10:00"})
    pause = ProviderPause.objects.get()
    assert (pause.reason, pause.paused_by) == ("y", "staff0")
    assert said() == [("staff0", "default", f"Paused anew until {later:%Y-%m-%d} 10:00 PST: y")]
    ProviderPause.objects.update(until=now - datetime.timedelta(hours=1))
    page = text_of(client.get(url("providerpause", "changelist")))
    assert "is asked" in page and f'href="{change}">Pause' in page
    assert '<option value="default"' not in text_of(client.get(url("providerpause", "add")))


@pytest.mark.parametrize(
    ("permissions", "link"),
    [(["view_providerpause"], ""), (["view_providerpause", "delete_providerpause"], "delete")],
)
def test_each_action_on_a_provider_takes_its_permission(
    providers: None, permissions: list[str], link: str
) -> None:
    pause_provider("gemini", reason="x")
    client = _client(*permissions)
    page = text_of(client.get(url("providerpause", "changelist")))
    assert url("providerpause", "add") not in page
    assert f'{url("providerpause", "change", "gemini")}"' not in page
    delete = url("providerpause", "delete", "gemini")
    assert (delete in page) is (link == "delete")
    assert client.get(url("providerpause", "add")).status_code == 403
    status = 200 if link else 403
    assert client.get(delete).status_code == status
    form = {"alias": "default", "reason": "x"}
    assert client.post(url("providerpause", "add"), form).status_code == 403
    assert _client("view_chunk").get(url("providerpause", "changelist")).status_code == 403


@pytest.mark.django_db(databases=["default", "postgres"])
def test_pauses_and_requests_live_where_the_settings_say(
    postgres_alias: str, operator: Client
) -> None:
    with override_settings(OBC_AI={"DATABASE": postgres_alias, "PROVIDERS": PROVIDERS}):
        client = pauser()
        form = {"alias": "default", "reason": "x", "until_0": "", "until_1": ""}
        client.post(url("providerpause", "add"), form)
        assert ProviderPause.objects.using(postgres_alias).exists()
        assert not ProviderPause.objects.using("default").exists()
        client.post(url("providerpause", "delete", "default"), {"post": "yes"})
        assert not ProviderPause.objects.using(postgres_alias).exists()
        assert operator.get(url("indexstate", "changelist")).status_code == 200
