"""Spans of searches and of turns of chat, and what nests in them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from django_obc_ai import telemetry
from django_obc_ai.exceptions import IndexNotReadyError
from django_obc_ai.services.chat import ChatService
from django_obc_ai.services.search import SimilaritySearchService
from django_obc_ai.testing import index_now, override_ai
from tests.extras import requires
from tests.gateway.conftest import run_async
from tests.servers.gemini import replies
from tests.services.conftest import MODEL, Asked, plan
from tests.telemetry import Heard
from tests.testapp.models import Place

pytestmark = pytest.mark.django_db(transaction=True)
QUESTION = "How many places are there?"
TURN, CALL = "invoke_agent obc_ai.chat", f"chat {MODEL}"


@pytest.fixture
def fresh_stores() -> Iterator[None]:
    with override_ai():
        yield


@pytest.fixture
def indexed(fresh_stores: None) -> None:
    Place.objects.create(name="Marawi", province="Lanao")
    index_now("places")


def attributes(heard: Heard, name: str) -> dict[str, Any]:
    return dict(heard.span(name).attributes or {})


@pytest.mark.usefixtures("indexed")
def test_a_search_says_where_and_how_many_but_not_what(heard: Heard) -> None:
    assert SimilaritySearchService().search("places", "Marawi", user=None, k=3)
    assert attributes(heard, "retrieval places") == {
        "gen_ai.operation.name": "retrieval",
        "gen_ai.data_source.id": "places",
        "obc_ai.search.k": 3,
        "obc_ai.search.results": 1,
    }
    assert "Marawi" not in "".join(each.to_json() for each in heard.spans)


@pytest.mark.usefixtures("indexed")
def test_embedding_the_query_is_inside_the_search(heard: Heard) -> None:
    with telemetry.spanning("request", {}):
        SimilaritySearchService().search("places", "Marawi", user=None)
    assert heard.tree() == {
        "embeddings default": "retrieval places", "retrieval places": "request", "request": None,
    }  # fmt: skip


@pytest.mark.usefixtures("fresh_stores")
def test_a_search_that_fails_says_why(heard: Heard) -> None:
    with pytest.raises(IndexNotReadyError):
        SimilaritySearchService().search("places", "Marawi", user=None)
    assert attributes(heard, "retrieval places")["error.type"] == "invalid_request"


def ask(way: str, user: Any) -> Any:
    service = ChatService(module="mana")

    async def astream() -> Any:
        async with service.astream(QUESTION, user=user) as pieces:
            async for _ in pieces:
                with telemetry.spanning("reader", {}):
                    pass
        return pieces.answer

    if way == "send":
        return service.send(QUESTION, user=user)
    if way == "asend":
        return run_async(service.asend(QUESTION, user=user))
    if way == "astream":
        return run_async(astream())
    with service.stream(QUESTION, user=user) as pieces:
        for _ in pieces:
            with telemetry.spanning("reader", {}):
                pass
    return pieces.answer


@requires("google.genai")
@pytest.mark.parametrize("way", ["send", "asend", "stream", "astream"])
def test_the_calls_of_a_turn_are_inside_it(
    heard: Heard, places: dict[str, Any], gemini: Asked, way: str
) -> None:
    gemini(plan(), replies.answer("There are 4 places [1].", chunks=3))
    answer = ask(way, places["amina"])
    turn = heard.span(TURN)
    assert turn.parent is None and turn.kind.name == "INTERNAL"
    calls = [each for each in heard.spans if each.name == CALL]
    assert [each.parent and each.parent.span_id for each in calls] == 2 * [
        turn.context and turn.context.span_id
    ]
    assert attributes(heard, TURN) == {
        "gen_ai.agent.name": "obc_ai.chat",
        "gen_ai.conversation.id": str(answer.conversation.pk),
        "gen_ai.operation.name": "invoke_agent",
        "obc_ai.chat.calls": 2,
        "obc_ai.chat.citations": 1,
        "obc_ai.chat.offline": False,
        "obc_ai.chat.plan": "query",
        "obc_ai.chat.refused": False,
        "obc_ai.module": "mana",
    }
    # Who reads a stream works outside of it.
    readers = [each for each in heard.spans if each.name == "reader"]
    assert bool(readers) == ("stream" in way)
    assert not [each for each in readers if each.parent]


@requires("google.genai")
def test_a_turn_whose_call_fails_has_its_category(
    heard: Heard, places: dict[str, Any], gemini: Asked
) -> None:
    gemini("no plan", RETRY={"attempts": 1})
    answer = ask("send", places["amina"])
    assert attributes(heard, TURN)["error.type"] == answer.error == "bad_response"


def test_a_turn_that_is_left_early_ends(heard: Heard, places: dict[str, Any]) -> None:
    with ChatService().stream(QUESTION, user=places["amina"]) as pieces:
        next(pieces)
    assert heard.span(TURN).end_time
