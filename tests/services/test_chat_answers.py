"""Answers that fail, that come from the cache, that leave as CSV or show their query."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.test import override_settings

from django_obc_ai.exceptions import DangerousQuery, UnknownConversationError
from django_obc_ai.models import AIOperation, ChatMessage
from django_obc_ai.services.chat import ChatService
from django_obc_ai.services.prompts import activate_prompt, draft_prompt
from django_obc_ai.testing import index_now
from tests.extras import requires
from tests.servers.gemini import replies
from tests.services.conftest import Asked, plan, rows_of, sent
from tests.testapp.models import Place

pytestmark = [pytest.mark.django_db, requires("google.genai")]
Users = dict[str, Any]


def send(message: str = "How many places are there?", user: Any = None, **more: Any) -> Any:
    return ChatService().send(message, user=user, **more)


@pytest.mark.parametrize(("reply", "error", "word"), [
    (replies.daily_quota(), "quota_exhausted", "cannot be reached"),
    (replies.blocked_prompt(), "content_blocked", "declined"),
    (replies.error(400), "invalid_request", "technical fault"),
])  # fmt: skip
def test_failures_of_the_provider_are_told_and_the_question_is_kept(
    places: Users, gemini: Asked, reply: Any, error: str, word: str
) -> None:
    gemini(reply)
    answer = send()
    assert (answer.error, answer.is_refused) == (error, False)
    assert word in answer.text
    assert len(answer.operation_ids) == 1
    asked, told = ChatMessage.objects.all()
    assert asked.text == "How many places are there?"
    assert told.error == error
    gemini(plan(), replies.blocked_prompt())
    answer = send("And how many now?")
    if error == "content_blocked":
        assert answer.error == "content_blocked"
        assert "This is what the data say:" in answer.text and "3" in answer.text
        assert answer.rows.rows == ((3,),)


def test_a_plan_that_is_no_plan_is_a_failure(places: Users, gemini: Asked) -> None:
    gemini("[1, 2]")
    answer = send()
    assert answer.error == "bad_response" and answer.rows is None


def test_an_exhausted_budget_sends_nothing(places: Users, gemini: Asked) -> None:
    budget = {"scope": "global", "period": "day", "limit_usd": "0.000001"}
    server = gemini(plan(), BUDGETS=[budget])
    answer = send()
    assert answer.error == "budget_exceeded" and "budget" in answer.text
    assert server.journal == []
    assert ChatMessage.objects.count() == 2


def test_cached_answers_serve_their_user_and_their_rows_alone(places: Users, gemini: Asked) -> None:
    server = gemini(plan(), "There are 4 places [1].")
    assert send(user=places["amina"]).text == "There are 4 places [1]."
    again = send(user=places["amina"])
    assert again.text == "There are 4 places [1]." and len(server.journal) == 2
    assert AIOperation.objects.filter(cached=True).count() == 2
    gemini(plan(), "Four [1].")
    assert send(user=places["omar"]).text == "Four [1]."  # the same count, another user
    assert len(server.journal) == 4
    Place.objects.create(name="Lamitan")
    gemini("Now 5 [1].")
    assert send(user=places["amina"]).text == "Now 5 [1]."  # the plan is cached, the answer not
    assert len(server.journal) == 5


def test_people_without_an_account_share_no_answer(places: Users, gemini: Asked) -> None:
    server = gemini(plan(), "There are 3 places [1].", plan(), "3 places [1].")
    assert send(user=AnonymousUser()).text == "There are 3 places [1]."
    assert send(user=AnonymousUser()).text == "3 places [1]."
    assert len(server.journal) == 4


def test_another_version_of_a_prompt_is_another_call(places: Users, gemini: Asked) -> None:
    server = gemini(plan(), "There are 4 places [1].")
    send(user=places["amina"])
    text = "Answer in {{ language }}. Today is {{ today }}."
    activate_prompt(draft_prompt("chat_answer", text, user=None), user=None)
    gemini("Four [1].")
    assert send(user=places["amina"]).text == "Four [1]."
    assert len(server.journal) == 3  # the plan's prompt is the same
    assert AIOperation.objects.get(prompt_version="chat_answer v1").cached is False
    assert sent(server)["systemInstruction"]["parts"][0]["text"].startswith("Answer in English, ")


def test_rows_are_exported_with_todays_rights(places: Users, gemini: Asked) -> None:
    Place.objects.create(name="=HYPERLINK(1)", province="-1")
    gemini(rows_of("name", "province"), "These [1].")
    answer = send("Which places?", user=places["amina"])
    lines = ChatService().export_csv(answer.message_id, user=places["amina"]).split("\r\n")
    assert "house of amina," in lines and "'=HYPERLINK(1),'-1" in lines
    assert not any("omar" in line for line in lines)
    Place.objects.update(owner=None)
    assert "amina" not in ChatService().export_csv(answer.message_id, user=places["amina"])
    ChatMessage.objects.filter(key=answer.message_id).update(
        plan={"kind": "query", "model": "auth.User", "fields": ["password"]}
    )
    with pytest.raises(DangerousQuery):
        ChatService().export_csv(answer.message_id, user=places["amina"])


def test_answers_without_rows_have_no_export(places: Users, gemini: Asked) -> None:
    gemini(plan(kind="answer"), "Hello.")
    answer = send("Hello")
    with pytest.raises(UnknownConversationError, match="rests on no rows"):
        ChatService().export_csv(answer.message_id, user=None)


def test_staff_may_see_the_query(places: Users, gemini: Asked) -> None:
    amina = places["amina"]
    gemini(plan(), "There are 4 places [1].")
    answer = send(user=amina)
    for user in (amina, None, AnonymousUser()):
        with pytest.raises(PermissionDenied):
            ChatService().show_query(answer.message_id, user=user)
    amina.is_staff = True
    sql = ChatService().show_query(answer.message_id, user=amina)
    assert sql.lstrip().upper().startswith("SELECT") and "testapp_place" in sql
    places["omar"].is_staff = True
    with pytest.raises(UnknownConversationError):
        ChatService().show_query(answer.message_id, user=places["omar"])


def test_a_broken_setting_is_a_failure_with_a_kind_text(places: Users) -> None:
    broken = {"default": {"BACKEND": "no.such.Provider"}}
    with override_settings(OBC_AI={"PROVIDERS": broken}):
        answer = send()
    assert answer.error == "configuration" and "technical fault" in answer.text
    with pytest.raises(TypeError, match="message is of type int"):
        ChatService().send(5, user=None)  # type: ignore[arg-type]


def test_all_that_an_answer_cost_is_named(places: Users, gemini: Asked) -> None:
    embedder = "django_obc_ai.backends.embedders.gemini.GeminiEmbedder"
    gemini(
        plan(kind="search", search="lake house", index="places"),
        "A house [1].",
        EMBEDDERS={"default": {"BACKEND": embedder, "OPTIONS": {"dimension": 256}}},
    )
    index_now("places")
    AIOperation.objects.all().delete()
    answer = send("Where is a house by the lake?")
    assert answer.error is None
    rows = AIOperation.objects.order_by("created_at")
    assert [each.pk for each in rows] == list(answer.operation_ids)
    assert [each.operation_type for each in rows] == ["chat", "embedding", "chat"]


def test_what_chat_says_by_itself_is_in_the_language_of_the_question(
    places: Users, gemini: Asked
) -> None:
    gemini(plan(), "May 77 na lugar [1] [7]. Tingnan: https://evil.example")
    warnings = send("Ilan ang mga lugar?").warnings
    assert [each.split()[0] for each in warnings] == ["May", "May", "Wala"]
    assert "[7]" in warnings[0] and "77" in warnings[2]
    assert send(f"Ilan ang mga {'lugar ' * 1_000}?").text.startswith("Mahigit 4000 karakter")


def test_there_is_always_something_to_go_on_with(places: Users, gemini: Asked) -> None:
    index_now("places")
    for given in (
        plan(),
        rows_of("name"),
        plan(kind="search", search="house", index="places"),
        plan(kind="answer"),
    ):
        gemini(given, "So [1].")
        assert 2 <= len(send("How is it?").suggestions) <= 3, given
