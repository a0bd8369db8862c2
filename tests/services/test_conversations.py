"""Conversations end: after their time, and with their user."""

from __future__ import annotations

import io
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.test import override_settings
from django.utils import timezone

from django_obc_ai.models import ChatMessage, Conversation
from django_obc_ai.services.chat import ChatService
from django_obc_ai.services.conversations import (
    erase_conversations,
    purge_conversations,
    start_conversation,
)

pytestmark = pytest.mark.django_db


def talk(days: int = 0, **values: Any) -> Conversation:
    at = timezone.now() - timedelta(days=days, minutes=1)
    conversation = Conversation.objects.create(updated_at=at, **values)
    ChatMessage.objects.create(conversation=conversation, role="user", text="How many?")
    return conversation


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command("purge_conversations", *arguments, stdout=out)
    return out.getvalue().strip()


def test_old_conversations_go_with_their_messages() -> None:
    talk(days=366)
    young = talk(days=364)
    assert run("--dry-run") == "1 conversations would be deleted."
    assert Conversation.objects.count() == 2
    assert run() == "1 conversations were deleted."
    assert [each.conversation for each in ChatMessage.objects.all()] == [young]
    assert run("--days", "0") == "1 conversations were deleted."
    with pytest.raises(CommandError, match="negative"):
        run("--days", "-1")


@override_settings(OBC_AI={"CHAT": {"retention_days": None}})
def test_without_a_time_all_stay() -> None:
    talk(days=9_999)
    assert purge_conversations() == 0
    assert Conversation.objects.count() == 1


def test_more_than_one_batch_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("django_obc_ai.services.conversations._AT_ONCE", 2)
    for _ in range(5):
        talk(days=400)
    assert purge_conversations() == 5
    assert not ChatMessage.objects.exists()


def test_conversations_go_with_their_user() -> None:
    amina, omar = (get_user_model().objects.create(username=name) for name in ("amina", "omar"))
    talk(user=amina)
    talk(user=omar)
    talk()
    amina.delete()
    assert [each.user for each in Conversation.objects.order_by("user_id")] in (
        [None, omar], [omar, None],
    )  # fmt: skip
    assert erase_conversations(omar.pk) == 1
    assert ChatMessage.objects.count() == 1


@pytest.mark.django_db(databases=["default", "postgres"], transaction=True)
def test_they_go_from_another_database_too(postgres_alias: str) -> None:
    with override_settings(OBC_AI={"DATABASE": postgres_alias}):
        amina = get_user_model().objects.create(username="amina")
        talk(user_id=amina.pk)
        other = talk()
        assert Conversation.objects.count() == 2
        assert not Conversation.objects.using("default").exists()
        amina.delete()
        assert [each.pk for each in Conversation.objects.all()] == [other.pk]
        assert ChatMessage.objects.count() == 1
        other.delete()


@pytest.mark.usefixtures("places")
def test_a_conversation_that_is_started_gets_its_title_with_the_first_question() -> None:
    amina = get_user_model().objects.get(username="amina")
    started = start_conversation(user=amina)
    assert (started.user, started.title) == (amina, "")
    for question in ("How many places are there?", "And now?"):
        ChatService().send(question, user=amina, conversation=str(started.pk))
    started.refresh_from_db()
    assert started.title == "How many places are there?"
    assert started.updated_at > started.created_at
