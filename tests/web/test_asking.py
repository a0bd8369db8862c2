"""Who may ask, and which conversations somebody goes on with who did not log in."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.test import override_settings

from django_obc_ai.exceptions import ConfigurationError, UnknownConversationError
from django_obc_ai.models import Conversation
from django_obc_ai.web.asking import SESSION_KEY, may_ask, open_conversation
from tests.web.conftest import person, request_of

VISITORS = override_settings(OBC_AI={"WEB": {"anonymous_scope": "visitors"}})


def test_strangers_may_ask_only_where_the_settings_say_so() -> None:
    assert may_ask(person())
    assert not may_ask(AnonymousUser()) and not may_ask(None)
    with VISITORS:
        assert may_ask(AnonymousUser())


def of_key_one(user: Any) -> bool:
    return getattr(user, "pk", None) == 1


def test_a_rule_of_the_project_only_takes_away() -> None:
    for rule in (of_key_one, f"{__name__}.of_key_one"):
        with override_settings(OBC_AI={"WEB": {"may_ask": rule}}):
            assert may_ask(person(1)) and not may_ask(person(2))
    with override_settings(OBC_AI={"WEB": {"may_ask": lambda user: True}}):
        assert not may_ask(AnonymousUser()) and not may_ask(None)
    visitors = {"anonymous_scope": "visitors", "may_ask": of_key_one}
    with override_settings(OBC_AI={"WEB": visitors}):
        assert not may_ask(AnonymousUser())


@override_settings(OBC_AI={"WEB": {"may_ask": f"{__name__}.of_key_two"}})
def test_a_rule_that_is_not_there_lets_nobody_in() -> None:
    with pytest.raises(ConfigurationError, match="cannot be imported"):
        may_ask(person())


@pytest.mark.django_db
@VISITORS
def test_a_stranger_goes_on_in_the_same_session_and_in_no_other() -> None:
    request = request_of()
    begun = open_conversation(request)
    assert (begun.user, begun.scope) == (None, "visitors")
    assert open_conversation(request, str(begun.pk)) == begun
    assert open_conversation(request, begun.pk) == begun
    for session in ({}, None, {SESSION_KEY: ["something else"]}):
        other = request_of()
        other.session = session
        with pytest.raises(UnknownConversationError):
            open_conversation(other, begun.pk)


@pytest.mark.django_db
@VISITORS
def test_without_sessions_each_question_begins_anew() -> None:
    request = SimpleNamespace(META={}, user=AnonymousUser())
    begun = open_conversation(request)
    with pytest.raises(UnknownConversationError):
        open_conversation(request, begun.pk)


@pytest.mark.django_db
@VISITORS
def test_a_session_keeps_its_last_conversations_only() -> None:
    request = request_of()
    begun = [open_conversation(request) for _ in range(25)]
    assert request.session[SESSION_KEY] == [str(each.pk) for each in begun[-20:]]


@pytest.mark.django_db
def test_people_go_on_with_their_own_and_the_session_keeps_nothing() -> None:
    amina, omar = (get_user_model().objects.create(username=each) for each in ("amina", "omar"))
    request = request_of(amina)
    begun = open_conversation(request)
    assert begun.user == amina and request.session == {}
    assert open_conversation(request_of(amina), begun.pk) == begun
    stranger: Any = request_of()
    stranger.session[SESSION_KEY] = [str(begun.pk)]  # of before the log-out
    for other in (request_of(omar), stranger):
        with pytest.raises(UnknownConversationError):
            open_conversation(other, begun.pk)


@pytest.mark.django_db
def test_who_logged_in_without_a_key_opens_nothing_of_people_without_a_login() -> None:
    begun = open_conversation(request_of())
    service = request_of(person(key=None))
    with pytest.raises(UnknownConversationError):
        open_conversation(service, begun.pk)
    own = open_conversation(service)
    assert open_conversation(service, own.pk) == own


@pytest.mark.django_db
@pytest.mark.parametrize("key", ["", "nonsense", "0" * 32, 5, "../../etc"])
def test_keys_that_are_none_open_nothing(key: Any) -> None:
    amina = get_user_model().objects.create(username="amina")
    with pytest.raises(UnknownConversationError):
        open_conversation(request_of(amina), key)
    assert not Conversation.objects.exists()
