"""What tests of chat share: places that may be asked about, and a provider to ask."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db.models import Q, QuerySet

from django_obc_ai.chat import ChatModel, get_chat_model, register, unregister
from django_obc_ai.testing import override_ai
from tests.servers.gemini import GeminiServer, replies
from tests.services.ticket_runner import TicketRunner
from tests.testapp.models import Place

GENAI = "django_obc_ai.backends.providers.google_genai.GoogleGenAIProvider"
MODEL = "gemini-3.5-flash-lite"


class PlaceChat(ChatModel):
    """Hidden places are told to their owner only."""

    model = Place
    fields = {"name": "Name of the place.", "province": "Province that it is in."}
    needs_permission = False

    def visible_to(self, queryset: QuerySet[Place], user: Any) -> QuerySet[Place]:
        own = Q(owner_id=user.pk) if user is not None and user.pk else Q(pk__in=[])
        return queryset.filter(Q(is_hidden=False) | own)


def plan(**values: Any) -> str:
    """A model's answer: a plan as JSON, a count of all places unless it says otherwise."""
    count = {"function": "count", "path": "", "alias": "count"}
    query = {"kind": "query", "model": "testapp.Place", "aggregate": [count]}
    return json.dumps({**query, **values} if values.get("kind", "query") == "query" else values)


def rows_of(*fields: str, **values: Any) -> str:
    """A plan for rows."""
    return plan(**{"aggregate": [], "fields": list(fields), **values})


@pytest.fixture
def tickets() -> Iterator[list[Any]]:
    """What `TicketRunner` is sent in this test."""
    TicketRunner.tickets.clear()
    yield TicketRunner.tickets
    TicketRunner.tickets.clear()
    TicketRunner.is_down = False


Asked = Callable[..., GeminiServer]


@pytest.fixture
def places(db: None) -> Iterator[dict[str, Any]]:
    """Three places that all may see, and one of each user that only its owner may."""
    before = get_chat_model("testapp.Place")
    register(PlaceChat)
    users = {name: get_user_model().objects.create(username=name) for name in ("amina", "omar")}
    for name, province in (("Marawi", "Lanao"), ("Wato", "Lanao"), ("Jolo", "Sulu")):
        Place.objects.create(name=name, province=province)
    for name, user in users.items():
        Place.objects.create(name=f"house of {name}", owner=user, is_hidden=True)
    yield users
    unregister("testapp.Place")
    if before is not None:
        register(type(before))


@pytest.fixture
def gemini(gemini_server: GeminiServer) -> Iterator[Asked]:
    """Return a function that scripts the loopback server, which answers from then on."""
    options = {"api_key": gemini_server.key, "base_url": gemini_server.url, "model": MODEL}
    entered: list[override_ai] = []

    def answer(*texts: Any, **settings: Any) -> GeminiServer:
        script = [replies.answer(each) if isinstance(each, str) else each for each in texts]
        gemini_server.script(*script)
        if not entered:
            provider = {"BACKEND": GENAI, "OPTIONS": options}
            kit = override_ai(PROVIDERS={"default": provider}, **settings)
            kit.enable()
            entered.append(kit)
        return gemini_server

    yield answer
    for kit in entered:
        kit.disable()


def sent(server: GeminiServer, number: int = -1) -> dict[str, Any]:
    """One request's body as the server received it; the last by default."""
    body: dict[str, Any] = server.journal[number].body
    return body


def prompt_of(server: GeminiServer, number: int = -1) -> str:
    """The text of the last turn of one request."""
    text: str = sent(server, number)["contents"][-1]["parts"][0]["text"]
    return text
