"""Answers in pieces of HTML, under WSGI and under ASGI."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.test import AsyncClient, Client, override_settings

from django_obc_ai.models import ChatMessage, Conversation
from django_obc_ai.testing import override_ai
from tests.gateway.conftest import PRICES
from tests.services.conftest import plan
from tests.widget.conftest import PAGE, QUESTION, client_of, events_of, stream

pytestmark = pytest.mark.django_db(transaction=True)
Users = dict[str, Any]
ANSWER = "There are **4** places [1].\n\n- Marawi <b>x</b>\n- Jolo [9]\n"


def test_blocks_grow_and_the_answer_takes_their_place(places: Users) -> None:
    with override_ai(script=[plan(), ANSWER], PRICES=PRICES):
        events = events_of(stream(client_of(places["amina"])))
    conversation = Conversation.objects.get()
    assert events[0] == (
        "conversation",
        {"conversation": str(conversation.pk), "url": f"{PAGE}{conversation.pk}/"},
    )
    names = [name for name, _ in events]
    assert names[1:] == ["block"] * (len(names) - 2) + ["answer"] and len(names) > 2
    blocks = {data["number"]: data["html"] for name, data in events if name == "block"}
    assert list(blocks) == [0, 1] and "<strong>4</strong>" in blocks[0] and "<li>" in blocks[1]
    html = events[-1][1]["html"]
    key = ChatMessage.objects.get(role="assistant").key
    assert f'href="#obc-ai-source-{key}-1"' in html and f'id="obc-ai-source-{key}-1"' in html
    assert "<b>" not in html and "[9]" not in html.partition("warning")[0]
    assert f"{PAGE}rows/{key}.csv" in html


def test_the_history_shows_the_same_answer(places: Users) -> None:
    with override_ai(script=[plan(), ANSWER], PRICES=PRICES):
        client = client_of(places["amina"])
        (_, told), *_, (_, answer) = events_of(stream(client))
        shown = client.get(told["url"]).context["chat_messages"][-1].answer
    assert str(shown.html) in answer["html"]
    assert shown.warnings and all(each in answer["html"] for each in shown.warnings[:1])
    assert shown.citations[0].number == 1 and shown.found_by


def test_the_same_is_told_under_asgi(places: Users) -> None:
    async def run() -> tuple[Any, bytes]:
        client = AsyncClient()
        await client.aforce_login(places["amina"])
        data, headers = {"message": QUESTION}, {"accept": "text/event-stream"}
        response = await client.post(PAGE, data, headers=headers)
        return response, b"".join([each async for each in response.streaming_content])

    response, body = async_to_sync(run)()
    assert response.is_async and response["Content-Type"].startswith("text/event-stream")
    assert body.startswith(b"event: conversation\n") and b"event: answer\n" in body


@override_settings(
    LANGUAGE_CODE="en",
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.locale.LocaleMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
)
def test_the_language_is_that_of_the_request(places: Users) -> None:
    from django.utils import translation

    client = client_of(places["amina"])
    headers = {"accept": "text/event-stream", "accept-language": "de"}
    response = client.post(PAGE, {"message": QUESTION}, headers=headers)
    seen = []

    def renders(*arguments: Any, **more: Any) -> str:
        seen.append(translation.get_language())
        return ""

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("django_obc_ai.widget.teller.render_to_string", renders)
        with translation.override("en"):
            events_of(response)
    assert seen == ["de"]


@pytest.mark.parametrize(
    ("sent", "status"),
    [({"message": ""}, 400), ({"conversation": "none"}, 404), ({"message": "x" * 70_000}, 413)],
)
def test_what_is_refused_before_says_why_as_json(
    places: Users, sent: dict[str, str], status: int
) -> None:
    refused = stream(client_of(places["amina"]), **{"message": QUESTION, **sent})
    assert refused.status_code == status and refused.json().keys() == {"detail"}


@override_settings(
    MIDDLEWARE=[
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
    ]
)
def test_without_sessions_no_key_is_told_that_would_open_nothing(places: Users) -> None:
    with override_ai(WEB={"anonymous_scope": "public"}):
        for _ in range(2):
            events = events_of(stream(Client(), "List places", conversation=""))
            assert events[0] == ("conversation", {"conversation": "", "url": PAGE})
            assert "rows/" not in events[-1][1]["html"]


def test_suggestions_lead_to_the_page_of_the_conversation(places: Users) -> None:
    events = events_of(stream(client_of(places["amina"])))
    assert f'href="{events[0][1]["url"]}?message=' in events[-1][1]["html"]


def test_others_and_the_hasty_are_told_why(places: Users) -> None:
    assert stream(Client()).status_code == 403
    with override_ai(WEB={"throttles": {"burst": "1/minute"}}):
        client = client_of(places["amina"])
        events_of(stream(client))
        refused = stream(client)
        assert refused.status_code == 429 and refused["Retry-After"] in refused.json()["detail"]


def test_an_answer_that_was_not_stored_is_shown_all_the_same(
    places: Users, monkeypatch: pytest.MonkeyPatch
) -> None:
    from django.db import DatabaseError

    def fails(self: Any, row: Any) -> None:
        raise DatabaseError("no space left")

    monkeypatch.setattr("django_obc_ai.services._chat_log.ChatLog._save", fails)
    name, data = events_of(stream(client_of(places["amina"])))[-1]
    assert name == "answer" and "rows/" not in data["html"]
