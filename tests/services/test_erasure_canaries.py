"""Of a person who is erased nothing is left anywhere; of everybody else, everything is."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.cache import caches
from django.core.management import call_command
from django.db import connection
from django.test import override_settings

from django_obc_ai.exceptions import InvalidRequestError
from django_obc_ai.gateway import intents, spool
from django_obc_ai.indexes import generations, get_index
from django_obc_ai.models import (
    AIOperation,
    Budget,
    BudgetAlert,
    BudgetChange,
    ChatMessage,
    Chunk,
    Conversation,
    CostCorrection,
    IndexGeneration,
    PromptTemplate,
    StoredContent,
)
from django_obc_ai.services.chat import ChatService
from django_obc_ai.services.embeddings import EmbeddingService
from django_obc_ai.services.erasure import ErasureReport, erase_user
from django_obc_ai.services.indexing import IndexingService
from django_obc_ai.services.text import TextService
from django_obc_ai.signals import erasing_user
from django_obc_ai.testing import Reply, override_ai
from django_obc_ai.types import Source
from tests.extras import is_installed
from tests.gateway.conftest import PRICES
from tests.gateway.test_embed import EMBEDDER, GENAI
from tests.servers.gemini import GeminiServer
from tests.servers.valkey import RedisServer
from tests.services.canaries import holding, in_cache, in_files, in_tables
from tests.testapp.models import Place

pytestmark = pytest.mark.django_db(transaction=True)
FAISS = "django_obc_ai.backends.vector_stores.faiss.FaissVectorStore"
A, B = "canary-of-amina", "canary-of-omar"


def answer(request: Any) -> Any:
    """Say back what was asked, as a plan to search where one is wanted."""
    if "fail" in request.prompt:
        return InvalidRequestError(f"Refused: {request.prompt}")
    if request.response_schema is not None:
        return json.dumps({"kind": "search", "index": "places", "text": request.prompt[-40:]})
    return Reply(f"You said {request.system} {request.prompt}")


@pytest.fixture(params=["locmem", "file", "database", "redis"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, Any]]:
    backend = "django.core.cache.backends"
    if request.param == "redis":
        if not is_installed("redis"):
            pytest.skip("redis is not installed")
        server: RedisServer = request.getfixturevalue("redis_server")
        yield {"BACKEND": f"{backend}.redis.RedisCache", "LOCATION": server.url}
        return
    if request.param == "database":
        yield {"BACKEND": f"{backend}.db.DatabaseCache", "LOCATION": "canary_cache"}
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE canary_cache")
        return
    kind = "filebased.FileBasedCache" if request.param == "file" else "locmem.LocMemCache"
    yield {"BACKEND": f"{backend}.{kind}", "LOCATION": str(tmp_path / "cache")}


@pytest.fixture
def project(
    cache: dict[str, Any], tmp_path: Path, gemini_server: GeminiServer
) -> Iterator[dict[str, Any]]:
    """Settings with every store on this machine, and two users; the texts are kept."""
    scripted = "django_obc_ai.testing.provider.ScriptedProvider"
    gemini = {"api_key": gemini_server.key, "base_url": gemini_server.url}
    options = {"script": [answer], "repeat_last": True}
    providers = {"default": {"BACKEND": scripted, "OPTIONS": options}}
    hashing = "django_obc_ai.backends.embedders.hashing.HashingEmbedder"
    embedders: dict[str, Any] = {"default": {"BACKEND": hashing}}
    if is_installed("google.genai"):
        providers["gemini"] = {"BACKEND": GENAI, "OPTIONS": {**gemini, "model": "gemini-2.5-flash"}}
        paid = {"dimension": 256, "provider": "gemini"}
        embedders["paid"] = {"BACKEND": EMBEDDER, "OPTIONS": paid}
    settings: dict[str, Any] = {
        "PROVIDERS": providers,
        "EMBEDDERS": embedders,
        "PRICES": PRICES,
        "CACHE": {"alias": "canaries"},
        "LOG": {"spool": tmp_path / "spool", "store_content": True, "redact": []},
    }
    if is_installed("faiss"):
        store = {"BACKEND": FAISS, "OPTIONS": {"path": str(tmp_path / "vectors")}}
        settings["VECTOR_STORES"] = {"default": store}
    base = "django.core.cache.backends.locmem.LocMemCache"
    with override_settings(CACHES={"default": {"BACKEND": base}, "canaries": cache}):
        if "DatabaseCache" in cache["BACKEND"]:
            call_command("createcachetable", "canary_cache", verbosity=0)
        with override_ai(**settings):
            caches["canaries"].clear()
            users = get_user_model().objects
            yield {A: users.create(username="amina"), B: users.create(username="omar")}


def plant(user: Any, canary: str) -> None:
    """Let a person leave a trace wherever the package keeps one."""
    text = TextService()
    for prompt in (f"I am {canary}", f"I am {canary}", f"fail {canary}"):
        text.generate_text(prompt, system_context=f"Speak to {canary}", user=user)
    list(text.stream_text(f"stream {canary}", user=user))
    for prompt in (f"answer {canary}", f"fail in the background {canary}"):
        text.submit(prompt, user=user, sources=[Source(text=canary, title=canary)])
    text.submit(f"later {canary}", user=user, delay_seconds=3600)
    ChatService().send(f"Who is {canary}?", user=user)
    if is_installed("google.genai"):
        EmbeddingService("paid").embed_queries([canary], user=user)
    for name in ("house", "raw", "renamed"):
        Place.objects.create(name=f"{name} {canary}", owner=user)
    budget = Budget(scope="user", key=str(user.pk), period="day", limit_usd=1)
    budget.changed_by = user
    budget.save()
    BudgetAlert.objects.create(
        key=f"user={user.pk}:day:2027-01-01",
        percent=75,
        level="warning",
        unit="usd",
        limit=1,
        spent=1,
    )
    operation = AIOperation.objects.filter(user_id=user.pk).first()
    CostCorrection.objects.create(
        operation=operation, kind="billed", old_cost_usd=0, new_cost_usd=0, was_cost_known=True,
        reason="r", made_by=user.username, run=operation.pk,
    )  # fmt: skip
    PromptTemplate.objects.create(name=user.username, version=1, text="t", created_by=user)


def plant_files(user: Any, canary: str) -> None:
    """Let operations wait on disk; any call of anybody would take them up."""
    lost = {"provider": "p", "success": False, "error_category": "x", "error_message": canary}
    waits, refused, flies = (AIOperation(user_id=user.pk, **lost) for _ in range(3))
    assert spool.write(waits, "default") and spool.write(refused, "default")
    assert intents.announce(flies, "default")
    spool.set_aside(spool.get_folder() / spool._name_of(refused, "default"), spool.REFUSED)  # type: ignore[operator]


def build_indexes() -> None:
    """Build the index, with copies of its chunks in generations of other settings."""
    IndexingService().index("places")
    index = get_index("places")
    for fingerprint in ("of other settings", generations.RETIRED):
        other = generations.create_generation(
            index, fingerprint=fingerprint, dimension=1, state=b"", count=0
        )
        for chunk in Chunk.objects.exclude(generation__fingerprint__in=["of other settings"]):
            if chunk.generation.fingerprint != generations.RETIRED:
                chunk.pk, chunk.generation = None, other
                chunk.save(force_insert=True)


def remove_rows(user_id: Any, **_: Any) -> None:
    """What a project does when a person asks to be erased, one part of it without a signal."""
    mine = Place.objects.filter(owner_id=user_id)
    mine.filter(name__startswith="house").delete()
    raw: Any = mine.filter(name__startswith="raw")
    raw._raw_delete(raw.db)
    for renamed in mine:
        renamed.name, renamed.owner = "a house", None
        renamed.save()


@pytest.fixture
def receiver() -> Iterator[None]:
    erasing_user.connect(remove_rows)
    yield
    erasing_user.disconnect(remove_rows)


@pytest.mark.usefixtures("receiver")
def test_nothing_is_left_of_who_is_erased_and_everything_of_others(
    project: dict[str, Any], tmp_path: Path
) -> None:
    for canary, user in project.items():
        plant(user, canary)
    for canary, user in project.items():
        plant_files(user, canary)
    build_indexes()
    before = {canary: traces(canary, tmp_path) for canary in project}
    assert before[A] == before[B]
    tables = {
        "django_obc_ai_aioperation", "django_obc_ai_chatmessage", "django_obc_ai_chunk",
        "django_obc_ai_conversation", "django_obc_ai_job", "django_obc_ai_storedcontent",
        "testapp_place", "file", "cache",
    }  # fmt: skip
    assert set(before[A]) == tables
    entries = len(list(in_cache("canaries")))
    costs = Counter(AIOperation.objects.values_list("pk", "cost_usd"))

    report = erase_user(project[A])

    assert traces(A, tmp_path) == {}
    after = traces(B, tmp_path)
    # One waiting operation of each was taken up, and the retired generation is gone.
    assert after.pop("file") == before[B]["file"] - 1
    assert after.pop("django_obc_ai_aioperation") == before[B]["django_obc_ai_aioperation"] + 1
    assert after.pop("django_obc_ai_chunk") == before[B]["django_obc_ai_chunk"] * 2 // 3
    assert after == {name: before[B][name] for name in after}
    assert (entries - len(list(in_cache("canaries")))) == report.cached_answers - 1 > 0
    assert not costs - Counter(AIOperation.objects.values_list("pk", "cost_usd"))
    assert not AIOperation.objects.filter(user=project[A]).exists()
    assert not BudgetChange.objects.filter(changed_by=str(project[A].pk)).exists()
    assert Budget.objects.get().key == str(project[B].pk)
    assert BudgetAlert.objects.get().key.startswith(f"user={project[B].pk}:")
    assert set(CostCorrection.objects.values_list("made_by", flat=True)) == {"", "omar"}
    assert not IndexGeneration.objects.filter(fingerprint=generations.RETIRED).exists()
    assert (report.conversations, report.messages, report.files) == (1, 2, 2)
    assert report.jobs == 3
    again = erase_user(project[A].pk)
    assert again == ErasureReport()


def traces(canary: str, folder: Path) -> dict[str, int]:
    """How many rows of which tables, files and cache entries hold a text."""
    found = Counter(holding(canary, in_tables()))
    found["file"] = len(holding(canary, in_files(folder)))
    found["cache"] = len(holding(canary, in_cache("canaries")))
    return {name: count for name, count in found.items() if count}


def test_mentions_are_taken_out_of_what_others_said(
    project: dict[str, Any], tmp_path: Path
) -> None:
    omar = project[B]
    TextService().generate_text(f"Tell me of {A} and {B}", user=omar, system_context=A.upper())
    for delay in (0, 3600):
        sources = [Source(text=A, title=B)]
        TextService().submit(
            f"In time, {A} and {B}", user=omar, sources=sources, delay_seconds=delay
        )
    answer = ChatService().send(f"Who are {A} and {B}?", user=omar)
    cited = [{"number": 1, "title": A, "url": "/", "text": f"{A} lives here"}]
    ChatMessage.objects.filter(key=answer.message_id).update(citations=cited, plan={"q": [A]})
    AIOperation.objects.create(
        provider="p", success=False, error_category="x", error_message=f"about {A}"
    )
    Conversation.objects.update(summary=f"- Asked: {A}")
    assert len(traces(A, tmp_path)) == 6
    before = traces(B, tmp_path)
    would = erase_user(project[A], mentions=[A], is_dry_run=True)
    assert traces(B, tmp_path) == before and traces(A, tmp_path)
    report = erase_user(project[A], mentions=[A])
    assert traces(A, tmp_path) == {} and A.upper() not in str(list(in_tables()))
    assert report.mentions == would.mentions > 5
    # A cached answer goes as a whole, what was stored stays but for the name.
    after = traces(B, tmp_path)
    assert after.pop("cache") < before.pop("cache")
    assert after == before
    assert StoredContent.objects.filter(prompt=f"Tell me of [erased] and {B}").exists()
    assert erase_user(project[A], mentions=[A]) == ErasureReport()
