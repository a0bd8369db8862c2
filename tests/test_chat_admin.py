"""The admin of chat: conversations for those who may read them, prompts with their history."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.test import Client, override_settings
from django.urls import reverse

from django_obc_ai.chat.prompts import get_prompt
from django_obc_ai.models import ChatMessage, Conversation, PromptTemplate
from tests.test_admin import _client, text_of

pytestmark = pytest.mark.django_db
URL = "admin:django_obc_ai_{}_{}"
TEXT = "Today is {{ today }}, the models are {{ models }}."
SECRET = "Who in Marawi <b>is ill</b>?"


def talk() -> Conversation:
    user = get_user_model().objects.create(username="amina")
    conversation = Conversation.objects.create(user=user, title=SECRET, summary="- Asked: x")
    make = ChatMessage.objects.create
    make(conversation=conversation, role="user", text=SECRET)
    make(conversation=conversation, role="assistant", text="Nobody.", is_refused=True,
         is_offline=True, error="timeout")  # fmt: skip
    return conversation


def url(model: str, page: str, *arguments: Any) -> str:
    return reverse(URL.format(model, page), args=arguments)


def test_who_may_only_view_sees_that_people_talk_and_not_what_they_say() -> None:
    conversation = talk()
    client = _client("view_conversation")
    for page in (url("conversation", "changelist"),
                 url("conversation", "change", conversation.pk)):  # fmt: skip
        shown = text_of(client.get(page))
        assert "amina" in shown
        assert "Marawi" not in shown and "Nobody" not in shown and "Asked" not in shown
    found = client.get(url("conversation", "changelist"), {"q": "Marawi"})
    assert "0 conversations" in text_of(found)


def test_who_may_read_sees_it_as_plain_text() -> None:
    conversation = talk()
    client = _client("view_conversation", "read_conversation")
    shown = text_of(client.get(url("conversation", "change", conversation.pk)))
    assert "Who in Marawi &lt;b&gt;is ill&lt;/b&gt;?" in shown
    assert "Nobody." in shown and "(refused, offline, timeout)" in shown
    assert "<b>is ill" not in shown
    assert "Marawi" not in text_of(client.get(url("conversation", "changelist")))


def test_the_history_of_the_admin_does_not_name_what_was_asked() -> None:
    conversation = talk()
    client = _client(is_superuser=True)
    confirm = text_of(client.get(url("conversation", "delete", conversation.pk)))
    assert "chat messages: 2" in confirm.lower()
    assert client.post(url("conversation", "delete", conversation.pk), {"post": "yes"}).url
    assert not ChatMessage.objects.exists()
    assert "Marawi" not in str([(e.object_repr, e.change_message) for e in LogEntry.objects.all()])


def test_conversations_are_neither_added_nor_edited_nor_seen_without_permission() -> None:
    conversation = talk()
    root = _client(is_superuser=True)
    assert root.get(url("conversation", "add")).status_code == 403
    change = url("conversation", "change", conversation.pk)
    assert root.post(change, {"title": "x"}).status_code == 403
    assert _client().get(change).status_code == 403
    assert _client("view_conversation").get(
        url("conversation", "delete", conversation.pk)
    ).status_code == 403  # fmt: skip


@pytest.fixture
def editor() -> Client:
    permissions = [f"{each}_prompttemplate" for each in ("add", "change", "view")]
    return _client(*permissions)


def act(client: Client, action: str, *prompts: PromptTemplate) -> str:
    data = {"action": action, "_selected_action": [each.pk for each in prompts]}
    return text_of(client.post(url("prompttemplate", "changelist"), data, follow=True))


def test_a_new_prompt_begins_with_the_text_in_use(editor: Client) -> None:
    page = text_of(editor.get(url("prompttemplate", "add")))
    assert "You turn a person" in page
    answer = text_of(editor.get(url("prompttemplate", "add"), {"name": "chat_answer"}))
    assert "You answer a person" in answer
    assert text_of(editor.get(url("prompttemplate", "add"), {"name": "nonsense"}))


def test_an_edit_makes_another_draft_and_leaves_what_was(editor: Client) -> None:
    editor.post(url("prompttemplate", "add"), {"name": "chat_plan", "text": TEXT})
    first = PromptTemplate.objects.get()
    page = url("prompttemplate", "change", first.pk)
    assert "chat_plan" in text_of(editor.get(page))
    assert editor.post(page, {"text": TEXT + " More.\r\nLines."}).status_code == 302
    second, kept = PromptTemplate.objects.order_by("-version")
    assert (kept.pk, kept.text, kept.status) == (first.pk, TEXT, "draft")
    assert (second.version, second.text, second.status) == (2, TEXT + " More.\nLines.", "draft")
    assert second.created_by.username == "staff0"
    assert [e.object_repr for e in LogEntry.objects.order_by("pk")] == [
        "chat_plan v1", "chat_plan v2",
    ]  # fmt: skip


def test_a_text_with_a_fault_is_not_stored(editor: Client) -> None:
    page = editor.post(url("prompttemplate", "add"), {"name": "chat_plan", "text": "{% if %}"})
    assert "cannot be rendered" in text_of(page)
    page = editor.post(url("prompttemplate", "add"), {"name": "joke", "text": TEXT})
    assert "Select a valid choice" in text_of(page)
    assert not PromptTemplate.objects.exists()


def test_activating_is_an_action_that_leaves_a_trace(editor: Client) -> None:
    for text in (TEXT, TEXT + "2"):
        editor.post(url("prompttemplate", "add"), {"name": "chat_plan", "text": text})
    second, first = PromptTemplate.objects.order_by("-version")
    assert "Active: chat_plan v1." in act(editor, "activate", first)
    assert "Active: chat_plan v2." in act(editor, "activate", second)
    assert get_prompt("chat_plan").version == "chat_plan v2"
    assert "Choose one version" in act(editor, "activate", first, second)
    PromptTemplate.objects.filter(pk=first.pk).update(text="")
    assert "does not use" in act(editor, "activate", first)
    assert "The file of chat_plan is used again." in act(editor, "use_files", first, second)
    assert get_prompt("chat_plan").version.startswith("chat_plan file")
    log = [(e.object_repr, e.change_message) for e in LogEntry.objects.order_by("pk")][2:]
    assert log == [
        ("chat_plan v1", "Activated."),
        ("chat_plan v2", "Activated."),
        ("chat_plan v2", "Archived: the file is used again."),
    ]


def test_who_may_only_view_neither_edits_nor_activates(editor: Client) -> None:
    editor.post(url("prompttemplate", "add"), {"name": "chat_plan", "text": TEXT})
    prompt = PromptTemplate.objects.get()
    viewer = _client("view_prompttemplate")
    assert "Today is" in text_of(viewer.get(url("prompttemplate", "change", prompt.pk)))
    act(viewer, "activate", prompt)
    assert PromptTemplate.objects.get().status == "draft"
    root = _client(is_superuser=True)
    assert root.get(url("prompttemplate", "delete", prompt.pk)).status_code == 403


@pytest.mark.django_db(databases=["default", "postgres"])
def test_both_live_in_the_configured_database(postgres_alias: str, editor: Client) -> None:
    with override_settings(OBC_AI={"DATABASE": postgres_alias}):
        editor.post(url("prompttemplate", "add"), {"name": "chat_plan", "text": TEXT})
        prompt = PromptTemplate.objects.get()
        act(editor, "activate", prompt)
        page = text_of(editor.get(url("prompttemplate", "changelist")))
        assert f"#{prompt.created_by_id}" in page
        assert not PromptTemplate.objects.using("default").exists()
        assert get_prompt("chat_plan").version == "chat_plan v1"
        Conversation.objects.create(user_id=prompt.created_by_id)
        root = _client(is_superuser=True)
        listed = text_of(root.get(url("conversation", "changelist")))
        assert f"#{prompt.created_by_id}" in listed
