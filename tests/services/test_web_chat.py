"""The chat of the web keeps no connection of a pool while a provider thinks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection, connections, transaction

from django_obc_ai.services.chat import ChatService
from django_obc_ai.services.web_chat import WebChatService
from django_obc_ai.testing import Reply, override_ai
from django_obc_ai.testing.provider import ScriptedProvider
from tests.gateway.conftest import PRICES

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor == "sqlite", reason="in memory, it is never closed"),
]
PLAN = json.dumps({"kind": "answer"})
WAYS = pytest.mark.parametrize("way", ["send", "stream"])


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """Whether a connection was open at each call of the provider."""
    found: list[bool] = []

    def watched(name: str) -> Any:
        call = getattr(ScriptedProvider, name)

        def watch(self: ScriptedProvider, *args: Any) -> Any:
            found.append(connections["default"].connection is not None)
            return call(self, *args)

        return watch

    for name in ("generate", "stream"):
        monkeypatch.setattr(ScriptedProvider, name, watched(name))
    with override_ai([PLAN, Reply(chunks=["One ", "answer."])], PRICES=PRICES):
        yield found


def ask(service: ChatService, way: str) -> None:
    if way == "send":
        assert service.send("What is there?", user=None).message_id
        return
    with service.stream("What is there?", user=None) as pieces:
        assert list(pieces)


@WAYS
def test_it_gives_back_a_connection_that_does_not_last(held: list[bool], way: str) -> None:
    ask(WebChatService(), way)
    assert held == [False, False]


@WAYS
@pytest.mark.parametrize("seconds", [None, 600])
def test_it_keeps_one_that_lasts(
    held: list[bool], way: str, seconds: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connections["default"].settings_dict, "CONN_MAX_AGE", seconds)
    ask(WebChatService(), way)
    assert held == [True, True]


@WAYS
def test_it_keeps_one_in_a_transaction(held: list[bool], way: str) -> None:
    with transaction.atomic():
        ask(WebChatService(), way)
    assert held == [True, True]


@WAYS
def test_other_callers_keep_theirs(held: list[bool], way: str) -> None:
    ask(ChatService(), way)
    assert held == [True, True]
