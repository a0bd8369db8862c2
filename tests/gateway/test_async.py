"""The async twins: the same books, and a loop that is never blocked."""

from __future__ import annotations

import asyncio
import threading
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from django_obc_ai.exceptions import (
    ConfigurationError,
    RateLimitError,
    StreamInterruptedError,
    TransientError,
)
from django_obc_ai.gateway.book import CallBook
from django_obc_ai.gateway.call import _Course
from django_obc_ai.gateway.flow import Send
from django_obc_ai.gateway.in_thread import to_its_end
from django_obc_ai.models import AIOperation
from django_obc_ai.services.text import TextService
from django_obc_ai.testing import CutStream, Reply, override_ai
from django_obc_ai.types import Usage
from tests.gateway.conftest import Scripted, run_async

pytestmark = pytest.mark.django_db(transaction=True)
USAGE = Usage(input_tokens=10, output_tokens=3)
COST = Decimal("0.000022")
BROKEN = {
    "default": {"BACKEND": "django_obc_ai.backends.providers.offline.OfflineProvider"},
    "broken": {"BACKEND": "no.such.Provider"},
}


def test_an_awaited_answer_is_booked_and_cached_like_any_other(scripted: Scripted) -> None:
    kit = scripted(Reply("A", usage=USAGE))

    async def main() -> None:
        first = await TextService().agenerate_text("Q", scope="s")
        again = await TextService().agenerate_text("Q", scope="s")
        assert (first.text, first.cost, first.cached) == ("A", COST, False)
        assert (again.text, again.cost, again.cached) == ("A", 0, True)

    run_async(main())
    assert (kit.provider.call_count, AIOperation.objects.count()) == (1, 2)
    assert TextService().generate_text("Q", scope="s").cached is True


def test_awaited_failures_are_results_too(scripted: Scripted) -> None:
    scripted(RateLimitError("Busy."), RETRY={"attempts": 1})
    result = run_async(TextService().agenerate_text("Q"))
    assert (result.success, result.error) == (False, "rate_limited")


def test_awaited_calls_are_tried_again(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("django_obc_ai.gateway.retry._BACKOFF", lambda _: 0.0)
    scripted(RateLimitError("Busy."), Reply("A", usage=USAGE))
    assert run_async(TextService().agenerate_text("Q")).success
    assert AIOperation.objects.get().attempts == 2


def test_configuration_faults_are_results() -> None:
    with override_ai(PROVIDERS=BROKEN):
        assert run_async(TextService("broken").agenerate_text("Q")).error == "configuration"
    with override_ai(NONSENSE=1):
        assert run_async(TextService().agenerate_text("Q")).operation_id is None


def test_a_cancelled_call_is_booked_at_its_ceiling(scripted: Scripted) -> None:
    scripted(Reply("A", delay_seconds=30))

    async def main() -> None:
        call = TextService().agenerate_text("Q", max_output_tokens=100, include_context=False)
        task = asyncio.create_task(call)
        while not await AIOperation.objects.aexists() and not task.done():
            await asyncio.sleep(0.01)
            if kit.provider.call_count:
                task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    kit = scripted(Reply("A", delay_seconds=30))
    run_async(main())
    row = AIOperation.objects.get()
    assert (row.success, row.error_category, row.cost_known) == (False, "transient", False)
    assert row.cost_usd == Decimal("0.000433")


@pytest.mark.parametrize("moment", ["while it is held", "when it is about to be sent"])
def test_a_call_that_is_cancelled_before_it_is_sent_costs_nothing(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    kit = scripted(Reply("A"))
    is_there, may_go_on = threading.Event(), threading.Event()

    def stopping(work: Any, step: type) -> Any:
        def stop(self: Any) -> Any:
            found = work(self)
            if isinstance(found, step):
                is_there.set()
                may_go_on.wait(20)
            return found

        return stop

    if moment == "while it is held":
        monkeypatch.setattr(CallBook, "open", stopping(CallBook.open, float))
    else:
        monkeypatch.setattr(_Course, "next", stopping(_Course.next, Send))

    async def main() -> None:
        task = asyncio.create_task(TextService().agenerate_text("Q"))
        await asyncio.to_thread(is_there.wait, 20)
        task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        may_go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    run_async(main())
    row = AIOperation.objects.get()
    assert (row.success, row.error_category) == (False, "transient")
    assert (row.cost_usd, row.cost_known, kit.provider.call_count) == (0, True, 0)


def test_a_server_that_cancels_every_task_leaves_no_money_held(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    kit = scripted(Reply("A"))
    is_there, may_go_on = threading.Event(), threading.Event()
    opened = CallBook.open

    def slow(self: CallBook) -> Any:
        found = opened(self)
        is_there.set()
        may_go_on.wait(20)
        return found

    monkeypatch.setattr(CallBook, "open", slow)

    async def main() -> None:
        task = asyncio.create_task(TextService().agenerate_text("Q"))
        await asyncio.to_thread(is_there.wait, 20)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert len(others) > 1  # what waits for the thread is a task, too
        for each in others:
            each.cancel()
        await asyncio.sleep(0.05)
        may_go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    run_async(main())
    row = AIOperation.objects.get()
    assert (row.cost_usd, row.cost_known, kit.provider.call_count) == (0, True, 0)


def test_work_that_no_thread_has_begun_is_not_waited_for() -> None:
    done: list[str] = []

    async def main() -> None:
        may_end = threading.Event()
        first = asyncio.create_task(to_its_end(may_end.wait, when_cancelled=lambda: None))
        await asyncio.sleep(0.05)
        work = partial(done.append, "begun")
        second = asyncio.create_task(to_its_end(work, when_cancelled=lambda: None))
        await asyncio.sleep(0.05)
        for each in asyncio.all_tasks() - {asyncio.current_task(), first, second}:
            each.cancel()  # those that wait for the threads
        ended = await second
        may_end.set()
        assert (ended.is_begun, type(ended.cancelled)) == (False, asyncio.CancelledError)
        assert (await first).is_begun

    asyncio.run(main())
    assert done == []


@pytest.mark.parametrize("is_cancelled", [False, True])
def test_no_task_is_left_behind_by_work_in_a_thread(is_cancelled: bool) -> None:
    """A loop that is closed then would leave it to the collector, which crashed Python 3.11."""

    async def main() -> None:
        may_end = threading.Event()
        task = asyncio.create_task(to_its_end(may_end.wait, when_cancelled=may_end.set))
        await asyncio.sleep(0.05)
        if is_cancelled:
            task.cancel()
        else:
            may_end.set()
        ended = await task
        assert (ended.is_begun, ended.result, ended.cancelled is None) == (
            True, True, not is_cancelled,
        )  # fmt: skip
        assert asyncio.all_tasks() == {asyncio.current_task()}

    for _ in range(20):
        asyncio.run(main())


def test_steps_of_the_books_share_a_thread(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(Reply("A", usage=USAGE))
    changes: list[str] = []
    follow = _Course.follow

    def noted(self: _Course, step: Any) -> Any:
        changes.append(type(step).__name__)
        return follow(self, step)

    monkeypatch.setattr(_Course, "follow", noted)
    run_async(TextService().agenerate_text("Q"))
    assert len(changes) == 2  # to the request, and to the end


def test_the_loop_goes_on_while_the_provider_thinks(scripted: Scripted) -> None:
    kit = scripted(Reply("A", delay_seconds=0.2))
    turns = 0

    async def main() -> None:
        nonlocal turns
        task = asyncio.create_task(TextService().agenerate_text("Q"))
        while not task.done():
            turns += 1 if kit.provider.call_count else 0
            await asyncio.sleep(0)
        assert (await task).text == "A"

    run_async(main())
    assert turns > 10


def test_an_async_stream_yields_and_is_booked(scripted: Scripted) -> None:
    scripted(Reply(chunks=["One ", "two"], usage=USAGE))

    async def main() -> None:
        stream = TextService().astream_text("Q")
        assert stream.result is None
        assert [piece async for piece in stream] == ["One ", "two"]
        assert stream.result is not None
        assert stream.result.cost == COST
        assert [piece async for piece in TextService().astream_text("Q")] == ["One two"]

    run_async(main())
    assert AIOperation.objects.count() == 2


def test_an_async_stream_that_is_cut_or_left_is_booked(scripted: Scripted) -> None:
    scripted(
        CutStream(chunks=["One"], usage=USAGE),
        Reply(chunks=["One ", "two"], usage=USAGE),
        TransientError("Down."),
        RETRY={"attempts": 1},
    )

    async def main() -> None:
        with pytest.raises(StreamInterruptedError):
            [piece async for piece in TextService().astream_text("1")]
        async with TextService().astream_text("2") as stream:
            assert await anext(stream) == "One "
        with pytest.raises(TransientError):
            [piece async for piece in TextService().astream_text("3")]

    run_async(main())
    rows = AIOperation.objects.order_by("created_at")
    assert [row.error_category for row in rows] == [
        "stream_interrupted", "stream_interrupted", "transient",
    ]  # fmt: skip
    assert rows[0].cost_usd == COST
    assert rows[1].tokens_exact is False


def test_an_async_stream_of_a_misconfigured_provider_raises() -> None:
    async def main() -> None:
        with pytest.raises(ConfigurationError, match="broken"):
            await anext(TextService("broken").astream_text("Q"))

    with override_ai(PROVIDERS=BROKEN):
        run_async(main())


def test_a_provider_without_native_async_runs_in_a_thread(scripted: Scripted) -> None:
    async def main() -> list[str]:
        with override_ai():
            result = await TextService().agenerate_text("Q")
            assert result.is_offline is True
            return [piece async for piece in TextService().astream_text("R")]

    assert "".join(run_async(main()))
