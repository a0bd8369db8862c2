"""Every paid call passes here, in one of four ways: whole or streamed, in a thread or awaited.

They differ only in how they do the steps of `flow.converse`. `call` and `acall` return a
`CallOutcome`, failures included, because a failed call has tokens, cost and attempts too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Generator
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from asgiref.sync import sync_to_async
from django.db import connections
from django.utils.asyncio import async_unsafe

from django_obc_ai.conf import get_settings
from django_obc_ai.exceptions import StreamInterruptedError
from django_obc_ai.gateway import cache
from django_obc_ai.gateway.book import CallBook
from django_obc_ai.gateway.flow import Do, Emit, Flow, Next, Send, Sleep, Step, Stop, converse
from django_obc_ai.gateway.refresh import refresh_later
from django_obc_ai.gateway.stream_book import StreamBook
from django_obc_ai.models.writer import transaction_of
from django_obc_ai.types import CallInfo, CallOutcome, GenerationRequest
from django_obc_ai.types.ids import new_id

_SYNC = (
    "generate_text() and stream_text() would block this event loop, and nothing was sent."
    " Await agenerate_text() or iterate over astream_text() instead."
)
ResultT = TypeVar("ResultT")
_sleep = time.sleep
#: What is under way. A stream that its reader forgets is closed by the garbage collector, which
#: would otherwise take the flow first, before the books are closed.
_under_way: set[Flow] = set()


@async_unsafe(_SYNC)
def call(request: GenerationRequest, info: CallInfo) -> CallOutcome:
    """Answer a request from the cache or from its provider."""
    return run(CallBook(request, info))


def run(book: CallBook) -> CallOutcome:
    """Keep the books of a call to its end, in this thread."""
    book.prepare()
    if book.outcome is None:  # else the cache has answered it
        for _ in _steps(book):
            pass
    if book.is_stale:
        _refresh(book)
    return _outcome(book)


@async_unsafe(_SYNC)
def stream(book: StreamBook) -> Generator[str, None, None]:
    """Yield the answer's text in pieces; ``book.outcome`` is set when it ends.

    Failures before the first chunk are retried; later ones are raised. Closing the
    iterator early settles what was seen and marks the row as interrupted.

    Raises:
        ObcAIError: The call failed.
        ConfigurationError: The provider is misconfigured.
    """
    return _pieces(book)


async def acall(request: GenerationRequest, info: CallInfo) -> CallOutcome:
    """See call()."""
    book = CallBook(request, info)
    async for _ in _apieces(book):
        pass
    return _outcome(book)


def astream(book: StreamBook) -> AsyncGenerator[str, None]:
    """See stream()."""
    return _apieces(book, raises=True)


def _outcome(book: CallBook) -> CallOutcome:
    assert book.outcome is not None  # noqa: S101 - converse() ends no call without one
    return book.outcome


def _pieces(book: StreamBook) -> Generator[str, None, None]:
    """Do all of a stream in this thread, and yield the text that it emits."""
    book.prepare()
    try:
        yield from _steps(book)
    finally:
        if book.is_stale:
            _refresh(book)
    _raise_error(book)


def _steps(book: CallBook) -> Generator[str, None, None]:
    """Do the steps of a call that is prepared; where the reader stops, on to its end."""
    flow = converse(book)
    _under_way.add(flow)
    advance: Callable[[Any], Step] = flow.send
    came: Any = None
    while True:
        try:
            step = advance(came)
        except BaseException as end:
            _under_way.discard(flow)
            if isinstance(end, StopIteration):
                return
            raise
        advance, came = flow.send, None
        try:
            if type(step) is Emit:
                yield step.text
            else:
                came = _do(step)
        except GeneratorExit:
            advance, came = flow.throw, _left()
        except BaseException as error:  # noqa: BLE001 - the flow decides, and raises it again
            advance, came = flow.throw, error


def _left() -> StreamInterruptedError:
    # Not GeneratorExit itself, which a generator does not hand down to those that it runs.
    return StreamInterruptedError("The caller stopped reading before the answer was finished.")


def _raise_error(book: CallBook) -> None:
    error = _outcome(book).error
    if error is not None:
        raise error


def _refresh(book: CallBook) -> None:
    """Ask once more in the background for an answer that was served past its time.

    Whoever else is served it does so too, and single-flight makes one call of them all.
    """
    entry = _outcome(book).cache_entry
    if entry is None or not cache.claim_refresh(entry):
        return
    info = replace(book.info, operation_id=new_id(), reads_cache=False)
    again = book.again(info).began_with(book)

    def refresh() -> None:
        outcome = run(again)
        if not outcome.stored_bytes:
            cache.end_refresh(entry, is_paid=outcome.cost_usd > 0)

    refresh_later(refresh, entry.hex)


def _do(step: Step) -> Any:
    match step:
        case Do(work):
            return work()
        case Sleep(seconds):
            return _sleep(seconds)
        case Send(book):
            with book.trace.current():
                return book.send()
        case Next(book):
            with book.trace.current():
                return book.next()
        case Stop(book):
            return book.stop()
    raise TypeError(type(step).__name__)


async def _apieces(book: CallBook, *, raises: bool = False) -> AsyncGenerator[str, None]:
    """See _pieces() and run(). No step blocks the event loop."""
    await _whole(book.prepare)
    flow = converse(book)
    _under_way.add(flow)
    advance: Callable[[Any], Step] = flow.send
    came: Any = None
    while True:
        try:
            step = advance(came)
        except BaseException as end:
            _under_way.discard(flow)
            if isinstance(end, StopIteration):
                break
            raise
        advance, came = flow.send, None
        try:
            if type(step) is Emit:
                yield step.text
            else:
                came = await _ado(step)
        except GeneratorExit:
            advance, came, raises = flow.throw, _left(), False
        except BaseException as error:  # noqa: BLE001 - see _steps()
            advance, came = flow.throw, error
    if book.is_stale:
        await _whole(partial(_refresh, book))
    if raises:
        _raise_error(book)


async def _ado(step: Step) -> Any:
    match step:
        case Do(work, is_followed_by_wait):
            return await _whole(_let_go(work) if is_followed_by_wait else work)
        case Sleep(seconds):
            return await asyncio.sleep(seconds)
        case Send(book):
            with book.trace.current():
                return await book.asend()
        case Next(book):
            with book.trace.current():
                return await book.anext()
        case Stop(book):
            return await book.astop()
    raise TypeError(type(step).__name__)


async def _whole(work: Callable[[], ResultT]) -> ResultT:
    """Run a step of the books in a thread, to its end even if the caller is cancelled."""
    step = asyncio.ensure_future(sync_to_async(work)())
    cancelled: asyncio.CancelledError | None = None
    while not step.done():
        try:
            await asyncio.shield(step)
        except asyncio.CancelledError as error:
            cancelled = error
        except BaseException:  # noqa: BLE001 - raised by result() below
            break
    if cancelled is not None:
        raise cancelled from step.exception()
    return step.result()


def _let_go(work: Callable[[], ResultT]) -> Callable[[], ResultT]:
    """Do a step, and give back the connection that it read through.

    The provider may take minutes, and the thread's connection would wait for its end.
    """

    def work_and_close() -> ResultT:
        try:
            return work()
        finally:
            alias = get_settings().database
            if transaction_of(alias) == "none":
                connections[alias].close()

    return work_and_close
