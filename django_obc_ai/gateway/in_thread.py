"""Work that blocks, done in a thread, which comes to its end whoever is cancelled meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, TypeVar

from asgiref.sync import sync_to_async

ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended(Generic[ResultT]):
    """How work in a thread ended.

    Attributes:
        result: What it returned; None if it failed or was not begun.
        failure: What it raised. As a value: what stops a caller, and not the thread, would
            otherwise be taken for the thread's end.
        cancelled: Why the caller shall not go on; None if it may.
        is_begun: Whether anything was done.
    """

    result: ResultT | None = None
    failure: BaseException | None = None
    cancelled: asyncio.CancelledError | None = None
    is_begun: bool = True


async def to_its_end(
    work: Callable[[], ResultT], *, when_cancelled: Callable[[], None]
) -> Ended[ResultT]:
    """Do work in the thread of the caller's context, and wait until it has ended.

    Nothing that is cancelled shortens the wait: not the caller, and not the task that waits for
    the thread, which a server that shuts down cancels with all others. That task has ended, too,
    when this returns: a loop that is closed meanwhile would leave it to the garbage collector.

    Args:
        work: What to do.
        when_cancelled: Called in the event loop each time the caller is cancelled.
    """
    done: Future[Ended[ResultT]] = Future()
    waiter = asyncio.ensure_future(sync_to_async(_do)(work, done))
    waiter.add_done_callback(lambda _: done.cancel())  # has an effect if it was not begun
    cancelled: asyncio.CancelledError | None = None
    while not (waiter.done() and done.done()):
        try:  # wait() cancels nothing of what it waits for
            await asyncio.wait([asyncio.wrap_future(done) if waiter.done() else waiter])
        except asyncio.CancelledError as error:
            cancelled = error
            when_cancelled()
    if not done.cancelled():
        ended = done.result()
        return Ended(result=ended.result, failure=ended.failure, cancelled=cancelled)
    failure = None if waiter.cancelled() else waiter.exception()
    if failure is None and cancelled is None:
        cancelled = asyncio.CancelledError()
    return Ended(failure=failure, cancelled=cancelled, is_begun=False)


def _do(work: Callable[[], ResultT], done: Future[Ended[ResultT]]) -> None:
    if not done.set_running_or_notify_cancel():
        return
    try:
        ended = Ended(result=work())
    except BaseException as error:  # noqa: BLE001 - whoever asked for it raises it
        ended = Ended(failure=error)
    done.set_result(ended)
