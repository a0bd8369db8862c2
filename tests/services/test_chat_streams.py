"""The same answers in pieces and awaited: safe to show at every moment, and a loop that goes on."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connections

from django_obc_ai.exceptions import UnknownConversationError
from django_obc_ai.models import AIOperation, ChatMessage, Conversation
from django_obc_ai.services.chat import ChatService
from django_obc_ai.testing import CutStream, Reply, override_ai
from tests.extras import requires
from tests.gateway.conftest import PRICES, run_async
from tests.servers.gemini import replies
from tests.services.conftest import Asked, plan

pytestmark = pytest.mark.django_db(transaction=True)
Users = dict[str, Any]
QUESTION = "How many places are there?"
LONG = "There are 3 places [1], see [x](https://evil.example/?q=3) and [7]. " * 5
SHOWN = LONG.strip().replace("](https", "] (hxxps").replace("://", "[:]//").replace(
    "evil.", "evil[.]").replace(" and [7]", " and")  # fmt: skip


def stream(message: str = QUESTION, user: Any = None, **more: Any) -> tuple[list[str], Any]:
    with ChatService().stream(message, user=user, **more) as pieces:
        return list(pieces), pieces.answer


async def astream(message: str = QUESTION, user: Any = None, **more: Any) -> tuple[list[str], Any]:
    async with ChatService().astream(message, user=user, **more) as pieces:
        return [each async for each in pieces], pieces.answer


def run_stream(way: str, *arguments: Any, **more: Any) -> tuple[list[str], Any]:
    if way == "stream":
        return stream(*arguments, **more)
    return run_async(astream(*arguments, **more))


WAYS = pytest.mark.parametrize("way", ["stream", "astream"])


@requires("google.genai")
@WAYS
def test_pieces_are_safe_and_join_to_the_answer(places: Users, gemini: Asked, way: str) -> None:
    server = gemini(plan(), replies.answer(LONG, chunks=40))
    pieces, answer = run_stream(way, user=places["amina"])
    assert len(pieces) > 5
    assert "".join(pieces) == answer.text == SHOWN
    for piece in pieces:
        assert "](" not in piece and "://" not in piece and "[7]" not in piece
    assert answer.rows.rows == ((4,),)
    assert len(answer.warnings) == 3  # a source that is none, a link, and 3 where it is 4
    assert ChatMessage.objects.get(key=answer.message_id).text == answer.text
    assert [each.operation for each in server.journal] == [
        "generateContent", "streamGenerateContent",
    ]  # fmt: skip
    assert AIOperation.objects.count() == 2


@WAYS
def test_refusals_and_offline_answers_are_one_piece(places: Users, way: str) -> None:
    pieces, answer = run_stream(way, "Delete all places")
    assert pieces == [answer.text] == ["I can only read data, not modify it."]
    pieces, answer = run_stream(way)
    assert pieces == [answer.text] and answer.is_offline


@WAYS
def test_an_answer_that_breaks_off_ends_with_what_happened(places: Users, way: str) -> None:
    cut = CutStream(["There ", "are ", "three pla"])
    with override_ai(script=[plan(), cut], PRICES=PRICES):
        pieces, answer = run_stream(way)
    assert "".join(pieces) == answer.text
    assert answer.text.startswith("There are three pla\n\nThe language model cannot be reached")
    assert "This is what the data say:" in answer.text
    assert answer.error == "stream_interrupted"
    assert ChatMessage.objects.get(key=answer.message_id).error == "stream_interrupted"


@WAYS
def test_a_plan_that_fails_ends_the_stream(places: Users, way: str) -> None:
    with override_ai(script=[CutStream()], PRICES=PRICES, RETRY={"attempts": 1}):
        pieces, answer = run_stream(way)
    assert pieces == [answer.text] and answer.error == "stream_interrupted"


@WAYS
def test_what_is_misconfigured_in_between_is_a_failure_too(places: Users, way: str) -> None:
    def break_the_settings(request: Any) -> Any:
        kit.enable()
        return Reply(plan())

    kit = override_ai(script=[], CONTEXT=["no.such.Context"])
    with override_ai(script=[break_the_settings], PRICES=PRICES):
        pieces, answer = run_stream(way)
        kit.disable()
    assert "".join(pieces) == answer.text and answer.error == "configuration"
    assert answer.rows.rows == ((3,),)


def test_a_stream_left_early_is_booked_and_keeps_the_question(places: Users) -> None:
    with override_ai(script=[plan(), Reply(chunks=["One ", "two ", "three "] * 5)], PRICES=PRICES):
        with ChatService().stream(QUESTION, user=None) as pieces:
            next(pieces)
        assert pieces.answer is None
    assert [each.role for each in ChatMessage.objects.all()] == ["user"]
    assert AIOperation.objects.get(success=False).error_category == "stream_interrupted"


def test_an_awaited_stream_left_early_is_booked_too(places: Users) -> None:
    async def main() -> None:
        async with ChatService().astream(QUESTION, user=None) as pieces:
            await anext(pieces)
        assert pieces.answer is None

    with override_ai(script=[plan(), Reply(chunks=["One ", "two ", "three "] * 5)], PRICES=PRICES):
        run_async(main())
    assert [each.role for each in ChatMessage.objects.all()] == ["user"]
    assert AIOperation.objects.get(success=False).error_category == "stream_interrupted"


@WAYS
def test_a_conversation_of_another_is_absent_at_the_first_piece(places: Users, way: str) -> None:
    absent = "00000000-0000-4000-8000-000000000000"
    with pytest.raises(UnknownConversationError):
        run_stream(way, conversation=absent)


@requires("google.genai")
def test_asend_answers_like_send(places: Users, gemini: Asked) -> None:
    gemini(plan(), "There are 4 places [1].", "Again 4 [1].")
    answer = run_async(ChatService().asend(QUESTION, user=places["amina"]))
    assert (answer.text, answer.rows.rows) == ("There are 4 places [1].", ((4,),))
    again = run_async(
        ChatService().asend(f"{QUESTION} ", user=places["amina"], conversation=answer.conversation)
    )
    assert again.conversation == answer.conversation


def test_the_loop_goes_on_while_an_answer_is_awaited(places: Users) -> None:
    is_over = threading.Event()

    async def main() -> Any:
        loop, waiting = asyncio.get_running_loop(), asyncio.Event()

        def slow(request: Any) -> Any:
            loop.call_soon_threadsafe(waiting.set)
            assert is_over.wait(30), "the loop stood still"
            return Reply(plan() if request.response_schema else "There are 3 places [1].")

        with override_ai(script=[slow, slow], PRICES=PRICES):
            task = asyncio.create_task(ChatService().asend(QUESTION, user=None))
            await waiting.wait()
            is_over.set()  # only a loop that goes on gets here
            return await task

    assert run_async(main()).rows.rows == ((3,),)


def test_no_transaction_and_no_connection_is_held_during_a_call(places: Users) -> None:
    seen: list[tuple[bool, bool]] = []

    async def main() -> Any:
        async def look() -> None:
            def state() -> tuple[bool, bool]:
                found = connections["default"]
                return found.in_atomic_block, found.connection is not None

            seen.append(await sync_to_async(state)())

        def answering(request: Any) -> Any:
            asyncio.run_coroutine_threadsafe(look(), loop).result(30)
            return Reply(plan() if request.response_schema else "There are 3 places [1].")

        loop = asyncio.get_running_loop()
        with override_ai(script=[answering, answering], PRICES=PRICES):
            return await ChatService().asend(QUESTION, user=None)

    assert run_async(main()).error is None
    assert seen == [(False, False)] * 2


def test_a_cancelled_question_is_kept_and_can_be_gone_on_with(places: Users) -> None:
    async def main() -> None:
        loop, asked = asyncio.get_running_loop(), asyncio.Event()

        def slow(request: Any) -> Any:
            loop.call_soon_threadsafe(asked.set)
            return Reply(plan(), delay_seconds=60)

        with override_ai(script=[slow], PRICES=PRICES):
            task = asyncio.create_task(ChatService().asend(QUESTION, user=None))
            await asked.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    run_async(main())
    (asked,) = ChatMessage.objects.all()
    assert AIOperation.objects.get().success is False
    answer = ChatService().send(QUESTION, user=None, conversation=asked.conversation)
    assert answer.rows.rows == ((3,),)


def test_an_answer_whose_conversation_was_erased_meanwhile_is_delivered(places: Users) -> None:
    def erase(request: Any) -> Any:
        places["amina"].delete()
        return Reply("There are 4 places [1].")

    with override_ai(script=[plan(), erase], PRICES=PRICES):
        answer = ChatService().send(QUESTION, user=places["amina"])
    assert answer.text == "There are 4 places [1]." and answer.message_id is None
    assert not Conversation.objects.exists() and not ChatMessage.objects.exists()
