"""The page without JavaScript: who may come, what is asked, and what is shown."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client, override_settings
from django.urls import reverse

from django_obc_ai.models import ChatMessage, Conversation
from django_obc_ai.services.chat import ChatService
from django_obc_ai.testing import override_ai
from tests.widget.conftest import PAGE, QUESTION, ask, client_of, stream

pytestmark = pytest.mark.django_db
Users = dict[str, Any]
NO_SESSIONS = [
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
]


def test_a_question_leads_to_the_conversation_with_its_answer(places: Users) -> None:
    client = client_of(places["amina"])
    asked = ask(client)
    assert asked.status_code == 302
    shown = client.get(asked.url)
    question, answer = shown.context["chat_messages"]
    assert question.text == QUESTION and "4" in answer.answer.html
    assert answer.answer.table is None and answer.answer.rows_url  # a figure; the text tells it
    assert not question.retry_url
    assert answer.answer.found_by and answer.answer.is_offline
    assert [each.url for each in shown.context["conversations"]] == [asked.url]
    assert QUESTION in shown.content.decode() and "no-store" in shown["Cache-Control"]


def test_a_question_goes_on_with_a_conversation(places: Users) -> None:
    client = client_of(places["amina"])
    first = ask(client).url
    key = Conversation.objects.get().pk
    assert ask(client, "List places", conversation=str(key)).url == first
    assert len(client.get(first).context["chat_messages"]) == 4
    assert b"<html" not in client.get(f"{first}?part=log").content


def test_only_the_last_answer_shows_its_rows(places: Users) -> None:
    client = client_of(places["amina"])
    key = Conversation.objects.get(pk=ask(client).url.split("/")[-2]).pk
    ask(client, "List places", conversation=str(key))
    first, last = (m.answer for m in client.get(f"{PAGE}{key}/").context["chat_messages"][1::2])
    assert first.table is None and first.rows_url
    assert len(last.table.rows) == 4


def test_rows_come_as_a_file_with_todays_rights(places: Users) -> None:
    client = client_of(places["amina"])
    ask(client, "List places")
    key = ChatMessage.objects.get(role="assistant").key
    sent = client.get(f"{PAGE}rows/{key}.csv")
    assert sent["Content-Type"] == "text/csv; charset=utf-8"
    assert f'filename="rows-{key}.csv"' in sent["Content-Disposition"]
    assert "house of amina" in sent.content.decode() and b"omar" not in sent.content
    with override_settings(OBC_AI={"CHAT": {"models": {}}}):
        from django_obc_ai.chat import unregister

        unregister("testapp.Place")
        assert client.get(f"{PAGE}rows/{key}.csv").status_code == 403
        last = client.get(f"{PAGE}{Conversation.objects.get().pk}/").context["chat_messages"][-1]
        assert last.answer.table is None and last.answer.rows_url


def test_staff_see_how_a_query_is_written(places: Users) -> None:
    for is_staff in (False, True):
        places["omar"].is_staff = is_staff
        places["omar"].save()
        client = client_of(places["omar"])
        last = client.get(ask(client).url).context["chat_messages"][-1]
        assert ("SELECT" in last.answer.sql) == is_staff


def test_whom_the_project_refuses_is_not_sent_to_the_login(places: Users) -> None:
    with override_ai(WEB={"may_ask": lambda user: user.username == "amina"}):
        assert ask(client_of(places["amina"])).status_code == 302
        refused = client_of(places["omar"])
        assert refused.get(PAGE).status_code == ask(refused).status_code == 403
        told = stream(refused)
        assert (told.status_code, told.json()["detail"]) == (403, "You may not ask here.")
        assert Client().get(PAGE).url.startswith("/accounts/login/")
    assert Conversation.objects.filter(user=places["omar"]).count() == 0


def test_what_is_anothers_is_absent(places: Users) -> None:
    ask(client_of(places["amina"]))
    key, answer = Conversation.objects.get().pk, ChatMessage.objects.get(role="assistant").key
    for client in (client_of(places["omar"]), Client()):
        with override_ai(WEB={"anonymous_scope": "public"}):
            assert client.get(f"{PAGE}{key}/").status_code == 404
            assert client.get(f"{PAGE}rows/{answer}.csv").status_code == 404
            assert client.post(f"{PAGE}{key}/delete/").status_code == 404
            refused = ask(client, conversation=str(key))
            assert refused.status_code == 404 and refused.context["message"] == QUESTION
    assert client_of(places["omar"]).get(PAGE).context["conversations"] == ()
    assert client_of(places["amina"]).get(f"{PAGE}rows/{uuid.uuid4()}.csv").status_code == 404


def test_a_conversation_is_deleted_by_a_post_alone(places: Users) -> None:
    client = client_of(places["amina"])
    url = f"{ask(client).url}delete/"
    assert client.get(url).status_code == 405
    assert client.post(url).url == PAGE
    assert not Conversation.objects.exists() and not ChatMessage.objects.exists()


@pytest.mark.parametrize("path", ["", "{}/", "rows/{}.csv"])
def test_others_are_sent_to_the_login_and_back(db: None, path: str) -> None:
    url = PAGE + path.format(uuid.uuid4())
    assert Client().get(url).url == f"/accounts/login/?next={url}"


def test_a_question_of_others_is_not_taken(db: None) -> None:
    assert ask(Client()).url == f"/accounts/login/?next={PAGE}"
    assert not Conversation.objects.exists()


@override_settings(
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.auth.middleware.LoginRequiredMiddleware",
    ]
)
def test_the_page_decides_itself_where_all_others_need_a_login(places: Users) -> None:
    with override_ai(WEB={"anonymous_scope": "public"}):
        assert Client().get(PAGE).status_code == 200


def test_people_without_an_account_go_on_with_what_their_session_began(places: Users) -> None:
    with override_ai(WEB={"anonymous_scope": "public"}):
        client = Client()
        url = ask(client).url
        assert "3" in client.get(url).context["chat_messages"][-1].answer.html
        answer = ChatMessage.objects.get(role="assistant").key
        assert client.get(f"{PAGE}rows/{answer}.csv").status_code == 200
        assert Conversation.objects.get().scope == "public"
        for path in (url, f"{PAGE}rows/{answer}.csv"):
            assert Client().get(path).status_code == 404
        assert client.post(f"{url}delete/").url == PAGE


@override_settings(MIDDLEWARE=NO_SESSIONS)
def test_without_sessions_the_answer_is_shown_at_once(places: Users) -> None:
    with override_ai(WEB={"anonymous_scope": "public"}):
        shown = ask(Client(), "List places")
        assert shown.status_code == 200
        assert [each.role for each in shown.context["chat_messages"]] == ["user", "assistant"]
        assert len(shown.context["chat_messages"][1].answer.table.rows) == 3
        html = shown.content.decode()
        assert "rows/" not in html and str(Conversation.objects.get().pk) not in html


def test_a_question_that_was_stopped_says_so_and_stands_once(places: Users) -> None:
    client = client_of(places["amina"])
    url = ask(client).url
    found = Conversation.objects.get()
    texts = ["Why?", "Which & where?", "Which & where?"]
    for text in texts:
        found.messages.create(role="user", text=text)
    shown = client.get(url)
    said = [each for each in shown.context["chat_messages"] if each.role == "user"]
    assert [each.text for each in said] == [QUESTION, "Why?", "Which & where?"]
    retries = [each.retry_url for each in said]
    assert retries == ["", f"{url}?message=Why%3F", f"{url}?message=Which+%26+where%3F"]
    assert shown.content.decode().count("Not answered") == 2
    assert client.get(retries[2]).context["message"] == "Which & where?"


def test_the_frame_of_a_conversation_comes_without_its_messages(places: Users) -> None:
    client = client_of(places["amina"])
    with override_ai(WEB={"throttles": {"burst": "1/minute"}}):
        url = ask(client, "List places").url
        shown = client.get(url, {"part": "frame"})  # reads no rows, and so is not counted
    html = shown.content.decode()
    assert shown.context["chat_messages"] == () and "List places" in html.partition("<h1")[2]
    assert "data-obc-ai-side" in html and f"{url}delete/" in html


def test_what_a_template_lacks_is_printed_nowhere(places: Users) -> None:
    from django.conf import settings

    options = {**settings.TEMPLATES[0]["OPTIONS"], "string_if_invalid": "(absent)"}
    with override_settings(TEMPLATES=[{**settings.TEMPLATES[0], "OPTIONS": options}]):
        client = client_of(places["amina"])
        for url in (PAGE, ask(client).url, ask(client, "List places").url):
            assert "(absent)" not in client.get(url).content.decode()
        assert "(absent)" not in ask(client, "").content.decode()


@pytest.mark.parametrize(
    ("message", "reason"), [("", "Write a question"), ("  \n", "Write"), ("x" * 4_001, "4001")]
)
def test_a_message_that_cannot_be_asked_comes_back(
    places: Users, message: str, reason: str
) -> None:
    refused = ask(client_of(places["amina"]), message)
    assert refused.status_code == 400 and reason in refused.context["form_error"]
    assert refused.context["message"] == message
    assert not Conversation.objects.exists()


def test_a_refusal_does_not_lose_the_conversation(places: Users) -> None:
    client = client_of(places["amina"])
    key = ask(client).url.split("/")[-2]
    refused = ask(client, "", conversation=key)
    assert refused.status_code == 400 and str(refused.context["conversation"].pk) == key
    assert [each.role for each in refused.context["chat_messages"]] == ["user", "assistant"]


def test_a_body_that_is_too_long_is_not_read(places: Users) -> None:
    refused = ask(client_of(places["amina"]), "x" * 70_000)
    assert refused.status_code == 413 and refused.context["message"] == ""


def test_who_asks_too_often_waits(places: Users) -> None:
    with override_ai(WEB={"throttles": {"burst": "2/minute"}}):
        client = client_of(places["amina"])
        first = ask(client, "Delete everything").url
        key = first.split("/")[-2]
        assert client.get(first).status_code == 200  # it reads no rows: not counted
        ask(client, conversation=key)
        refused = ask(client)
        assert refused.status_code == 429 and 0 < int(refused["Retry-After"]) <= 120
        assert "try again" in refused.context["form_error"] and refused.context["message"]
        answer = ChatMessage.objects.filter(role="assistant").last()
        assert answer is not None
        assert client.get(f"{PAGE}rows/{answer.key}.csv").status_code == 429
        last = client.get(first).context["chat_messages"][-1].answer
        assert last.table is None and last.rows_url
        assert ask(client_of(places["omar"])).status_code == 302


@pytest.mark.parametrize("middleware", [True, False])
def test_csrf_is_in_force_whatever_the_project_has(places: Users, middleware: bool) -> None:
    from django.conf import settings

    kept = [each for each in settings.MIDDLEWARE if middleware or "csrf" not in each.lower()]
    with override_settings(MIDDLEWARE=kept):
        client = client_of(places["amina"], enforce_csrf_checks=True)
        assert ask(client).status_code == 403
        token = client.get(PAGE).context["csrf_token"]
        assert ask(client, csrfmiddlewaretoken=str(token)).status_code == 302


def test_examples_can_be_asked_and_a_link_fills_the_form(places: Users) -> None:
    client = client_of(places["amina"])
    shown = client.get(PAGE, {"message": "List places"})
    assert shown.context["message"] == "List places"
    assert shown.context["examples"]
    for example in shown.context["examples"]:
        assert not ChatService().send(example, user=places["amina"]).is_refused
    assert len(client.get(PAGE, {"message": "x" * 9_999}).context["message"]) == 4_000


@override_settings(LANGUAGE_CODE="fil")
def test_examples_are_filipino_where_the_page_is(places: Users) -> None:
    examples = client_of(places["amina"]).get(PAGE).context["examples"]
    assert any(each.startswith("Ilan ang mga") for each in examples)


def test_nothing_to_ask_about_is_no_fault(db: None) -> None:
    user = get_user_model().objects.create(username="amina")
    assert client_of(user).get(PAGE).context["examples"] == ()


def test_addresses_are_those_of_the_contract() -> None:
    key = uuid.uuid4()
    names = {"conversation": f"{key}/", "delete": f"{key}/delete/", "rows": f"rows/{key}.csv"}
    for name, path in names.items():
        assert reverse(f"django_obc_ai_chat:{name}", args=[key]) == PAGE + path
    assert reverse("django_obc_ai_chat:page") == PAGE


def test_messages_of_the_project_are_not_the_history(places: Users) -> None:
    shown = client_of(places["amina"]).get(PAGE)
    assert list(shown.context["messages"]) == []
