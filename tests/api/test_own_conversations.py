"""Conversations over HTTP: asked, listed, read and deleted by their owner alone."""

from __future__ import annotations

import datetime
import json
import uuid
from typing import Any

import pytest
from django.test import Client, override_settings
from django.utils import timezone

from django_obc_ai.models import ChatMessage, Conversation
from django_obc_ai.testing import override_ai
from tests.api.conftest import FREE, Person, is_problem
from tests.extras import requires

pytestmark = [pytest.mark.django_db, requires("rest_framework")]
OPEN = {"anonymous_scope": "public", "throttles": FREE}


def talk(user: Any = None, *, messages: int = 1, **values: Any) -> Conversation:
    title = values.pop("title", "How many?")
    conversation = Conversation.objects.create(user=user, title=title, **values)
    for number in range(messages):
        role = ("user", "assistant")[number % 2]
        ChatMessage.objects.create(conversation=conversation, role=role, text=f"text {number}")
    return conversation


def test_a_question_is_answered_and_kept(amina: Person) -> None:
    response = amina.post("chat/", {"message": "How many places are there?"})
    assert response.status_code == 200
    body = response.json()
    assert body["is_offline"] and body["text"] and body["error"] is None
    again = amina.post("chat/", {"message": "And now?", "conversation": body["conversation"]})
    assert again.json()["conversation"] == body["conversation"]
    (listed,) = amina.get("conversations/").json()["results"]
    assert (listed["id"], listed["title"]) == (body["conversation"], "How many places are there?")
    said = amina.get(f"conversations/{listed['id']}/").json()
    assert [each["role"] for each in said["messages"]] == ["user", "assistant"] * 2
    assert said["messages"][1]["id"] == body["message_id"] and not said["is_cut"]


def test_a_stream_tells_conversation_text_and_answer(amina: Person) -> None:
    stream = amina.post("chat/stream/", {"message": "How many places?"})
    assert stream["Content-Type"].startswith("text/event-stream")
    assert stream["Cache-Control"] == "no-store"
    events = [
        (head.removeprefix("event: "), json.loads(data.removeprefix("data: ")))
        for head, data in (
            each.splitlines() for each in stream.getvalue().decode().strip().split("\n\n")
        )
    ]
    names = [name for name, _ in events]
    assert (names[0], names[-1]) == ("conversation", "answer") and set(names[1:-1]) == {"text"}
    told = "".join(data["text"] for name, data in events if name == "text")
    assert told == events[-1][1]["text"]
    assert events[0][1]["conversation"] == events[-1][1]["conversation"]


def test_errors_of_a_stream_are_problems_although_a_stream_is_accepted(amina: Person) -> None:
    accepted = {"accept": "text/event-stream"}
    response = amina.post("chat/stream/", {"message": ""}, headers=accepted)
    assert is_problem(response, 400, "invalid")["errors"]["message"]
    asked = {"message": "Hm?", "conversation": str(uuid.uuid4())}
    is_problem(amina.post("chat/stream/", asked, headers=accepted), 404)


def test_nobody_elses_conversation_is_there(amina: Person, omar: Person) -> None:
    key = talk(omar.user).pk
    assert amina.get("conversations/").json()["results"] == []
    missing = is_problem(amina.get(f"conversations/{uuid.uuid4()}/"), 404)
    assert is_problem(amina.get(f"conversations/{key}/"), 404) == missing
    assert is_problem(amina.delete(f"conversations/{key}/"), 404) == missing
    assert is_problem(amina.post("chat/", {"message": "?", "conversation": str(key)}), 404)
    assert Conversation.objects.filter(pk=key).exists()
    assert omar.delete(f"conversations/{key}/").status_code == 204
    assert not Conversation.objects.exists()


def test_what_is_no_key_is_an_unknown_one(amina: Person) -> None:
    for key in ("1", "no-key", "0" * 40, "%00", "é"):
        is_problem(amina.get(f"conversations/{key}/"), 404)


def test_conversations_of_another_tenant_are_not_there(amina: Person) -> None:
    key = talk(amina.user, scope="north").pk
    assert amina.get("conversations/").json()["count"] == 0
    is_problem(amina.get(f"conversations/{key}/"), 404)


def test_lists_come_in_pages(amina: Person) -> None:
    now = timezone.now()
    for number in range(5):
        at = now - datetime.timedelta(minutes=number)
        talk(amina.user, title=f"{number}", updated_at=at)
    first = amina.get("conversations/?page_size=2").json()
    assert ([each["title"] for each in first["results"]], first["count"]) == (["0", "1"], 5)
    assert first["previous"] is None
    second = amina.client.get(first["next"]).json()
    assert [each["title"] for each in second["results"]] == ["2", "3"]
    assert second["previous"].endswith("page=1&page_size=2")
    last = amina.client.get(second["next"]).json()
    assert (last["next"], len(last["results"])) == (None, 1)
    is_problem(amina.get("conversations/?page_size=2&page=4"), 404)
    for wrong in ("page=0", "page=last", "page_size=101", "page=", "pages=1", "page=1.5"):
        is_problem(amina.get(f"conversations/?{wrong}"), 400, "invalid")


def test_a_long_conversation_is_read_in_parts(amina: Person, omar: Person) -> None:
    key = talk(amina.user, messages=102).pk
    found = amina.get(f"conversations/{key}/").json()
    assert (len(found["messages"]), found["is_cut"]) == (100, True)
    assert found["messages"][-1]["text"] == "text 101"
    first = found["messages"][0]["id"]
    rest = amina.get(f"conversations/{key}/?before={first}").json()
    assert [each["text"] for each in rest["messages"]] == ["text 0", "text 1"]
    assert not rest["is_cut"]
    others = talk(omar.user).messages.get().key
    is_problem(amina.get(f"conversations/{key}/?before={others}"), 404)
    is_problem(amina.get(f"conversations/{key}/?before=first"), 400)


def test_citations_are_shown_whatever_was_kept_of_them(amina: Person) -> None:
    conversation = talk(amina.user)
    kept = [{"number": 1, "title": "Marawi", "url": ""}]
    ChatMessage.objects.create(
        conversation=conversation, role="assistant", text="Yes [1].", citations=kept
    )
    *_, answer = amina.get(f"conversations/{conversation.pk}/").json()["messages"]
    assert answer["citations"] == [{**kept[0], "text": ""}]


def test_without_the_setting_nobody_asks_without_logging_in(nobody: Person) -> None:
    for path in ("chat/", "chat/stream/", "search/"):
        is_problem(nobody.post(path, {"message": "Hm?"}), 403, "not_authenticated")
    is_problem(nobody.get("conversations/"), 403)
    assert not Conversation.objects.exists()


def test_who_did_not_log_in_has_what_the_own_session_began(nobody: Person) -> None:
    with override_ai(WEB=OPEN):
        body = nobody.post("chat/", {"message": "How many places?"}).json()
        path = f"conversations/{body['conversation']}/"
        assert Conversation.objects.get().scope == "public"
        assert nobody.get(path).status_code == 200
        assert nobody.get("conversations/").json()["results"] == []
        is_problem(Person().get(path), 404)
        is_problem(Person().delete(path), 404)
        assert nobody.delete(path).status_code == 204


def test_a_session_is_protected_before_somebody_logs_in_too(nobody: Person) -> None:
    nobody.client = Client(enforce_csrf_checks=True)
    with override_ai(WEB=OPEN):
        body = nobody.post("chat/", {"message": "How many places?"}).json()
        more = {"message": "And now?", "conversation": body["conversation"]}
        is_problem(nobody.post("chat/", more), 403, "permission_denied")
        is_problem(nobody.delete(f"conversations/{body['conversation']}/"), 403)
        token = "a" * 32
        nobody.client.cookies["csrftoken"] = token
        assert nobody.post("chat/", more, headers={"X-CSRFToken": token}).status_code == 200


@override_settings(MIDDLEWARE=["django.middleware.common.CommonMiddleware"])
def test_a_project_without_sessions_may_be_asked_all_the_same(nobody: Person) -> None:
    nobody.client.cookies["sessionid"] = "left-over"
    with override_ai(WEB=OPEN):
        assert nobody.post("chat/", {"message": "How many?"}).status_code == 200
