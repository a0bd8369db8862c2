"""Turns told as events: as a whole, broken off, and to clients that go away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from contextlib import aclosing
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connection, connections
from django.http import StreamingHttpResponse
from django.test import AsyncRequestFactory, RequestFactory

from django_obc_ai.models import AIOperation, ChatMessage, Conversation
from django_obc_ai.services.chat import ChatService
from django_obc_ai.services.conversations import start_conversation
from django_obc_ai.testing import Reply, override_ai
from django_obc_ai.types.chat import ChatAnswer
from django_obc_ai.web.event_stream import CONTENT_TYPE, tell_turn, write_event
from tests.gateway.conftest import PRICES, run_async

pytestmark = pytest.mark.django_db(transaction=True)
PLAN = json.dumps({"kind": "answer"})
PIECES = ["One word. ", "Another one. ", "The last."]
WAYS = pytest.mark.parametrize("way", ["sync", "async"])


class Teller:
    """Tells the text and nothing else."""

    def __init__(self, *, fails_in: str = "") -> None:
        self.fails_in = fails_in

    def _told(self, name: str, data: Any) -> Iterable[bytes]:
        if self.fails_in == name:
            raise RuntimeError("secret detail")
        return [write_event(name, data)]

    def begin(self, conversation: Conversation) -> Iterable[bytes]:
        return self._told("begin", str(conversation.pk))

    def piece(self, text: str) -> Iterable[bytes]:
        return self._told("piece", text)

    def end(self, answer: ChatAnswer) -> Iterable[bytes]:
        ChatMessage.objects.count()  # it may read
        return self._told("end", answer.text)


def kit(*script: Any, **settings: Any) -> override_ai:
    return override_ai(list(script), PRICES=PRICES, **settings)


def respond(way: str, conversation: Conversation, **teller: Any) -> StreamingHttpResponse:
    make = RequestFactory() if way == "sync" else AsyncRequestFactory()
    return tell_turn(
        make.post("/"), ChatService(), "What is there?", user=None, conversation=conversation,
        teller=Teller(**teller),
    )  # fmt: skip


async def _all(response: StreamingHttpResponse) -> list[bytes]:
    return [each async for each in response]


def tell(way: str, **teller: Any) -> list[tuple[str, Any]]:
    response = respond(way, start_conversation(user=None), **teller)
    told = list(response) if way == "sync" else run_async(_all(response))
    return read(b"".join(told))


def read(stream: bytes) -> list[tuple[str, Any]]:
    found = []
    for event in stream.decode().split("\n\n")[:-1]:
        if not event.startswith(":"):
            name, data = event.split("\n")
            found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


@WAYS
def test_a_turn_is_told_in_order_and_stored(way: str) -> None:
    with kit(PLAN, Reply(chunks=PIECES)):
        told = tell(way)
    names = [name for name, _ in told]
    assert names[0] == "begin" and names[-1] == "end" and set(names[1:-1]) == {"piece"}
    pieces = [data for name, data in told if name == "piece"]
    assert len(pieces) > 1 and "".join(pieces) == told[-1][1] == "".join(PIECES)
    stored = Conversation.objects.get(pk=told[0][1]).messages.values_list("role", flat=True)
    assert list(stored) == ["user", "assistant"]


@WAYS
def test_proxies_are_told_to_pass_it_on(way: str) -> None:
    with kit(PLAN, Reply("Yes.")):
        response = respond(way, start_conversation(user=None))
        list(response) if way == "sync" else run_async(_all(response))
    assert response["Content-Type"] == CONTENT_TYPE
    assert (response["Cache-Control"], response["X-Accel-Buffering"]) == ("no-store", "no")


@WAYS
@pytest.mark.parametrize("where", ["begin", "piece", "end"])
def test_what_fails_ends_the_stream_and_tells_nothing_of_itself(
    way: str, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    with kit(PLAN, Reply(chunks=PIECES)):
        told = tell(way, fails_in=where)
    assert told[-1] == ("error", {"code": "failed", "detail": "The answer broke off."})
    assert "secret" not in str(told)
    assert "RuntimeError" in caplog.text


@WAYS
def test_a_client_that_leaves_is_booked_and_the_question_kept(way: str) -> None:
    long = Reply(chunks=[f"Word {n}. " for n in range(50)])

    async def leave(response: StreamingHttpResponse) -> None:
        pieces = aiter(response)
        await anext(pieces)
        await anext(pieces)
        await pieces.aclose()  # type: ignore[attr-defined]  # a generator, as Django's are

    with kit(PLAN, long):
        response = respond(way, start_conversation(user=None))
        if way == "sync":
            pieces = iter(response)
            next(pieces), next(pieces)
            response.close()
        else:
            run_async(leave(response))
    assert [each.role for each in ChatMessage.objects.all()] == ["user"]
    cut = AIOperation.objects.get(success=False)
    assert cut.error_category in ("stream_interrupted", "transient")
    assert not cut.tokens_exact


def test_a_server_that_reads_no_more_ends_the_turn_at_once() -> None:
    """As Django does when it cannot send: it closes the response's iterator alone."""
    before: set[Any] = set()

    async def leave() -> set[Any]:
        response = respond("async", await Conversation.objects.acreate(scope=""))
        before.update(asyncio.all_tasks())
        async with aclosing(aiter(response)) as pieces:
            async for each in pieces:
                if each.startswith(b"event: piece"):
                    await asyncio.sleep(0.05)  # the turn is an event ahead, and waits
                    break
        return asyncio.all_tasks() - before

    with kit(PLAN, Reply(chunks=[f"Word {n}. " for n in range(50)])):
        left = run_async(leave())
    assert left == set()
    assert AIOperation.objects.filter(success=False).count() == 1


def test_a_response_that_nobody_reads_begins_nothing() -> None:
    async def look() -> int:
        respond("async", await Conversation.objects.acreate(scope="")).close()
        return await ChatMessage.objects.acount()

    with kit() as chat:
        assert run_async(look()) == 0
    assert chat.provider.call_count == 0


def test_a_client_that_leaves_while_the_model_thinks_ends_the_call() -> None:
    async def leave() -> None:
        response = respond("async", await Conversation.objects.acreate(scope=""))
        pieces = aiter(response)
        await anext(pieces)
        while not chat.provider.call_count:  # noqa: ASYNC110 - the provider knows no loop
            await asyncio.sleep(0.01)
        await asyncio.wait_for(pieces.aclose(), 20)  # type: ignore[attr-defined]  # see above

    with kit(PLAN, Reply("Never told.", delay_seconds=600)) as chat:
        run_async(leave())
    assert (
        not AIOperation.objects.filter(operation_type="chat", success=True)
        .exclude(attempts=1)
        .exists()
    )
    assert [each.role for each in ChatMessage.objects.all()] == ["user"]


def test_silence_is_filled_with_comments() -> None:
    with kit(PLAN, Reply("Late.", delay_seconds=0.3), WEB={"keep_alive_seconds": 0.02}):
        response = respond("async", start_conversation(user=None))
        told = run_async(_all(response))
    assert told.count(b":\n\n") > 3
    assert [name for name, _ in read(b"".join(told))][-1] == "end"


@pytest.mark.skipif(connection.vendor == "sqlite", reason="in memory, it is never closed")
def test_no_connection_is_held_while_the_model_thinks() -> None:
    def is_open() -> bool:
        return connections["default"].connection is not None

    async def look() -> list[bool]:
        response = respond("async", await Conversation.objects.acreate(scope=""))
        return [
            await sync_to_async(is_open)()
            async for each in response
            if each.startswith(b"event: piece")
        ]

    with kit(PLAN, Reply(chunks=PIECES * 5)):
        held = run_async(look())
    assert len(held) > 10
    assert not any(held[:-2])  # then the books are closed, an event ahead of the client


def test_data_is_one_line_whatever_it_holds() -> None:
    event = write_event("x", {"text": "a\nb\r\n\u2028 \ud800 é"})
    assert event.count(b"\n") == 3 and event.endswith(b"\n\n")
    assert json.loads(event.split(b"data: ")[1])["text"].startswith("a\nb\r\n\u2028")
