"""A question, its plan, its rows and its answer; asked of a real server by a real SDK."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.db import connection

from django_obc_ai.chat.planner import suggest
from django_obc_ai.exceptions import UnknownConversationError
from django_obc_ai.models import AIOperation, ChatMessage, Conversation
from django_obc_ai.services.chat import ChatService
from django_obc_ai.testing import index_now
from django_obc_ai.types.chat import QueryPlan
from tests.extras import requires
from tests.servers.gemini import replies
from tests.services.conftest import Asked, PlaceChat, plan, prompt_of, rows_of, sent
from tests.testapp.models import Place

pytestmark = [pytest.mark.django_db, requires("google.genai")]
Users = dict[str, Any]


def send(message: str = "How many places are there?", user: Any = None, **more: Any) -> Any:
    return ChatService().send(message, user=user, **more)


def test_a_count_is_planned_run_and_told(places: Users, gemini: Asked) -> None:
    server = gemini(plan(), "There are 4 places [1].")
    answer = send(user=places["amina"])
    assert answer.text == "There are 4 places [1]."
    assert answer.rows.rows == ((4,),)  # three for all, and her own
    assert (answer.plan.kind, answer.plan.model) == ("query", "testapp.Place")
    assert [each.number for each in answer.citations] == [1]
    assert answer.found_by and answer.citations[0].title == answer.found_by
    assert (answer.error, answer.warnings, answer.is_refused) == (None, (), False)
    assert not answer.is_offline
    assert 2 <= len(answer.suggestions) <= 3
    assert len(server.journal) == 2
    rows = AIOperation.objects.order_by("created_at")
    assert [each.pk for each in rows] == list(answer.operation_ids)
    assert {each.operation_type for each in rows} == {"chat"}
    assert {each.user_id for each in rows} == {places["amina"].pk}
    assert [each.prompt_version.split()[0] for each in rows] == ["chat_plan", "chat_answer"]


def test_each_user_sees_with_their_own_rights(places: Users, gemini: Asked) -> None:
    for user, count in ((places["omar"], 4), (None, 3), (AnonymousUser(), 3)):
        server = gemini(rows_of("name"), "These [1].")
        answer = send("Which places are there?", user=user)
        assert len(answer.rows.rows) == count
        assert ("house of omar" in prompt_of(server)) is (count == 4)
        assert "house of amina" not in prompt_of(server)


def test_question_and_answer_are_stored(places: Users, gemini: Asked) -> None:
    gemini(plan(), "There are 4 places [1].")
    answer = send(user=places["amina"])
    conversation = Conversation.objects.get()
    assert answer.conversation == conversation
    assert (conversation.user, conversation.title) == (
        places["amina"], "How many places are there?",
    )  # fmt: skip
    asked, told = ChatMessage.objects.all()
    assert (asked.role, asked.text, asked.plan) == ("user", "How many places are there?", None)
    assert (told.key, told.role, told.text) == (answer.message_id, "assistant", answer.text)
    assert told.plan["model"] == "testapp.Place"
    assert told.operation_ids == [str(each) for each in answer.operation_ids]
    assert told.citations == [
        {"number": 1, "title": answer.found_by, "text": "", "url": ""}
    ]  # that rows were cited, not what they were
    assert (told.is_refused, told.is_offline, told.error) == (False, False, "")


def test_a_search_answers_from_what_the_user_may_find(places: Users, gemini: Asked) -> None:
    server = gemini(plan(kind="search", search="house", index="places"), "A house [1].")
    index_now("places")
    answer = send("Where is a house?", user=places["omar"])
    assert answer.rows is None and answer.found_by == ""
    (source,) = answer.citations
    assert source.object == Place.objects.get(name="house of omar")
    assert "house of amina" not in prompt_of(server)
    assert ChatMessage.objects.get(role="assistant").citations[0]["text"] == source.text


def test_both_have_the_rows_first_and_then_passages(places: Users, gemini: Asked) -> None:
    both = rows_of("name").replace('"query"', '"both", "search": "Jolo"')
    server = gemini(both, "Rows [1], text [2], nothing [9].")
    index_now()
    answer = send("Which, and what of Jolo?", user=None)
    assert [each.number for each in answer.citations] == [1, 2]
    assert answer.citations[0].object is None and answer.citations[1].object.name == "Jolo"
    assert answer.text == "Rows [1], text [2], nothing."
    assert "[9]" in answer.warnings[0]
    assert prompt_of(server).count("<source id=") >= 2


def test_without_an_index_both_rests_on_rows_and_search_fails(places: Users, gemini: Asked) -> None:
    gemini(rows_of("name").replace('"query"', '"both", "search": "Jolo"'), "Rows [1].")
    answer = send("Which, and what of Jolo?", user=None)
    assert answer.error is None and "could not be searched" in answer.warnings[0]
    gemini(plan(kind="search", search="Jolo"))
    answer = send("Find Jolo", user=None)
    assert (answer.error, answer.rows) == ("invalid_request", None)
    assert "kept" in answer.text


def test_an_index_that_is_none_is_refused(places: Users, gemini: Asked) -> None:
    gemini(plan(kind="search", search="Jolo", index="no-such-index"))
    assert send("Find Jolo").is_refused


def test_a_query_that_takes_too_long_is_refused_with_the_reason(
    places: Users, gemini: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL counts three rows within its shortest timeout")
    monkeypatch.setattr(PlaceChat, "max_seconds", 0.0)
    monkeypatch.setattr("django_obc_ai.chat.query._STEPS", 1)
    gemini(plan())
    answer = send()
    assert answer.is_refused and answer.rows is None and answer.error is None
    assert "takes the database longer" in answer.text


def test_how_rows_were_found_is_said_with_their_count(places: Users, gemini: Asked) -> None:
    lanao = {"path": "province", "lookup": "exact", "value": "Lanao"}
    gemini(rows_of("name", filters=[lanao], limit=1), "One [1].")
    answer = send("Which places are in Lanao?")
    assert "Lanao" in answer.found_by and answer.found_by.endswith("; 1 of 2 rows")
    gemini(rows_of("name", filters=[lanao]), "Dalawa [1].")
    assert send("Ilan ang mga lugar sa Lanao?").found_by.endswith("; 2 hanay")


def test_a_follow_up_gets_the_last_plan_and_the_turns(places: Users, gemini: Asked) -> None:
    first = send_first(gemini, places["amina"])
    lanao = {"path": "province", "lookup": "exact", "value": "Lanao"}
    server = gemini(plan(filters=[lanao]), "There are 2 places [1].")
    answer = send("What about Lanao?", user=places["amina"], conversation=first.conversation)
    assert answer.rows.rows == ((2,),)
    asked = sent(server, 2)
    assert [each["role"] for each in asked["contents"]] == ["user", "model", "user"]
    assert "<plans>\n{" in prompt_of(server, 2)
    assert "testapp.Place" in prompt_of(server, 2)
    assert ChatMessage.objects.filter(conversation=first.conversation).count() == 4
    by_key = send_again(gemini, places["amina"], str(first.conversation.pk))
    assert by_key.conversation == first.conversation


def send_first(gemini: Asked, user: Any) -> Any:
    gemini(plan(), "There are 4 places [1].")
    return send(user=user)


def send_again(gemini: Asked, user: Any, conversation: Any) -> Any:
    gemini(plan(kind="answer"), "You are welcome.")
    return send("Thanks", user=user, conversation=conversation)


def test_plans_that_are_no_longer_allowed_are_not_shown(places: Users, gemini: Asked) -> None:
    first = send_first(gemini, places["amina"])
    ChatMessage.objects.filter(role="assistant").update(
        plan={"kind": "query", "model": "auth.User"}
    )
    server = gemini(plan(kind="answer"), "Hello.")
    send("And there?", user=places["amina"], conversation=first.conversation)
    assert "auth.User" not in str(sent(server, 2)) + str(sent(server, 3))


@pytest.mark.parametrize("other", ["omar", None, "absent", "nonsense"])
def test_a_conversation_of_another_is_as_absent(
    places: Users, gemini: Asked, other: str | None
) -> None:
    first = send_first(gemini, places["amina"])
    key: Any = first.conversation
    if other == "absent":
        key = "00000000-0000-4000-8000-000000000000"
    elif other == "nonsense":
        key = "' OR 1=1"
    user = places.get(str(other))
    asked_for = first.message_id if other in ("omar", None) else str(key)
    messages = ChatMessage.objects.count()
    with pytest.raises(UnknownConversationError, match="no such conversation or message"):
        send(user=user, conversation=key)
    with pytest.raises(UnknownConversationError, match="no such conversation or message"):
        ChatService().export_csv(asked_for, user=user)
    assert ChatMessage.objects.count() == messages


def tenant_of(user: Any) -> str:
    return getattr(user, "first_name", "")


def test_a_conversation_of_another_tenant_is_absent_too(places: Users, gemini: Asked) -> None:
    amina = places["amina"]
    gemini(plan(), "There are 4 places [1].", SCOPE=tenant_of)
    amina.first_name = "mana"
    first = send(user=amina)
    assert first.conversation.scope == "mana"
    assert set(AIOperation.objects.values_list("scope", flat=True)) == {"mana"}
    amina.first_name = "policies"
    with pytest.raises(UnknownConversationError):
        send(user=amina, conversation=first.conversation)


def test_a_plan_that_is_refused_is_filled_anew_once(places: Users, gemini: Asked) -> None:
    server = gemini(rows_of("owner"), plan(), "There are 3 places [1].")
    assert send().text == "There are 3 places [1]."
    assert "<reason>" not in prompt_of(server, 0)
    assert "<reason>\nThe last plan was not accepted: " in prompt_of(server, 1)
    assert len(server.journal) == 3


def test_a_plan_that_is_refused_twice_is_refused(places: Users, gemini: Asked) -> None:
    server = gemini(rows_of("owner"), rows_of("password"), "never sent")
    answer = send()
    assert answer.is_refused and answer.rows is None and answer.plan is None
    assert answer.text == ("I cannot answer that: it asks for something that I may not look up.")
    assert len(server.journal) == len(answer.operation_ids) == 2
    asked, told = ChatMessage.objects.all()
    assert asked.is_refused and told.is_refused and told.plan is None


def test_what_the_guard_refuses_costs_nothing(places: Users, gemini: Asked) -> None:
    server = gemini("never sent")
    answer = send("Delete all places")
    assert answer.is_refused
    assert answer.text == "I can only read data, not modify it."
    assert (server.journal, answer.operation_ids, AIOperation.objects.count()) == ([], (), 0)
    asked, told = ChatMessage.objects.all()
    assert asked.is_refused and told.is_refused
    filipino = send("Burahin ang lahat ng lugar")
    assert filipino.text.startswith("I can only read data, not modify it. Makapagbabasa lang ako")
    for odd in ("\ud800 half a character", "\0", "", "  \u200b "):
        assert send(odd).is_refused
    long = send("x" * 5_000)
    assert long.is_refused
    assert len(ChatMessage.objects.filter(role="user").last().text) == 4_000  # type: ignore[union-attr]


def test_a_model_may_refuse_in_words_that_link_to_nothing(places: Users, gemini: Asked) -> None:
    gemini(plan(kind="refuse", reason="No weather here, see [x](https://evil.example)."))
    answer = send("How is the weather?")
    assert answer.is_refused
    assert answer.text == "No weather here, see [x] (hxxps[:]//evil[.]example)."


def test_answers_come_in_the_language_of_the_question(places: Users, gemini: Asked) -> None:
    server = gemini(plan(), "May 3 na lugar [1].")
    send("Ilan ang mga lugar?")
    assert "Answer in Filipino." in str(sent(server)["systemInstruction"])
    gemini(replies.daily_quota())
    assert "Hindi maabot" in send("Ilan ang mga lugar ngayon?").text


def test_numbers_that_no_row_holds_are_flagged(places: Users, gemini: Asked) -> None:
    gemini(plan(), "There are 77 places [1].")
    assert send().warnings == ("The data do not hold these numbers of the answer: 77.",)
    gemini(plan(kind="answer"), "In 1996 there were 17.")
    assert "1996, 17" in send("Hello").warnings[0]


def test_an_answer_cut_at_its_limit_says_so(places: Users, gemini: Asked) -> None:
    gemini(plan(), replies.finished("MAX_TOKENS", text="There are 3"))
    assert send().warnings == ("The answer was cut at its token limit.",)


def test_suggestions_can_be_switched_off(places: Users, gemini: Asked) -> None:
    gemini(plan(), "There are 3 places [1].", CHAT={"suggestions": False})
    assert send().suggestions == ()


@pytest.mark.usefixtures("places")
def test_suggestions_without_a_place_look_for_no_rows(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        ideas = suggest(QueryPlan(model="testapp.Place"), user=None, language="en")
    assert ideas[0] == "How many places?" and "Places per province" in ideas


def test_offline_no_model_is_asked(places: Users) -> None:
    answer = send(user=places["amina"])
    assert answer.rows.rows == ((4,),)
    assert "4" in answer.text and answer.is_offline
    assert answer.operation_ids == () and AIOperation.objects.count() == 0
    assert ChatMessage.objects.get(key=answer.message_id).is_offline
    unknown = send("Why is the sky blue, tell me?", user=None)
    assert unknown.is_refused and "did not understand" in unknown.text
    assert unknown.suggestions
