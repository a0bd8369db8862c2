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
from django_obc_ai.gateway.flow import (
    Do,
    Emit,
    Flow,
    Next,
    Send,
    Sleep,
    Step,
    Stop,
    Unsent,
    converse,
)
from django_obc_ai.gateway.in_thread import to_its_end
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


async def acall(prepare: Callable[[], CallBook]) -> CallOutcome:
    """See call().

    Args:
        prepare: Returns the books; called in a thread.
    """
    course = _Course(prepare)
    async for _ in _apieces(course):
        pass
    return _outcome(course.book)


def astream(prepare: Callable[[], StreamBook]) -> AsyncGenerator[str, None]:
    """See stream() and acall()."""
    return _apieces(_Course(prepare), raises=True)


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


class _Course:
    """A call on its way in an event loop: what is next, and what came of the last step.

    Steps of the books follow one another in the thread that has begun with one of them. A change
    of threads takes longer than many of these steps, above all where hundreds of calls run.
    """

    def __init__(self, prepare: Callable[[], CallBook]) -> None:
        self._prepare = prepare
        self._flow: Flow | None = None
        self._advance: Callable[[Any], Step]
        self._came: Any = None
        self._is_followed_by_wait = False
        #: Whether the caller was cancelled: no step more is begun.
        self.is_left = False

    def begin(self) -> Step | None:
        """Make and prepare the books, in a thread; see follow()."""
        self.book = self._prepare()
        self.book.prepare()
        if self.is_left:
            return None
        self._flow = converse(self.book)
        _under_way.add(self._flow)
        self.send(None)
        return self.follow(self.next())

    def leave(self) -> None:
        """Note that the caller was cancelled."""
        self.is_left = True

    def send(self, came: Any) -> None:
        """Say what came of the last step."""
        assert self._flow is not None  # noqa: S101 - begin() comes first
        self._advance, self._came = self._flow.send, came

    def throw(self, error: BaseException) -> None:
        """Say what the last step has failed with."""
        if self._flow is None:
            raise error
        self._advance, self._came = self._flow.throw, error

    def next(self) -> Step | None:
        """Return the next step, None at the end."""
        try:
            return self._advance(self._came)
        except BaseException as end:
            _under_way.discard(self._flow)
            if isinstance(end, StopIteration):
                return None
            raise

    def follow(self, step: Step | None) -> Step | None:
        """Do steps of the books, in a thread; return the first that is none, None at the end.

        If the caller is cancelled, the step that it was in.
        """
        try:
            while isinstance(step, Do):
                self._is_followed_by_wait |= step.is_followed_by_wait
                try:
                    self.send(step.work())
                except BaseException as error:  # noqa: BLE001 - see _steps()
                    self.throw(error)
                if self.is_left:
                    break
                step = self.next()
            return step
        finally:
            if self._is_followed_by_wait:
                self._is_followed_by_wait = False
                _let_go()


async def _apieces(course: _Course, *, raises: bool = False) -> AsyncGenerator[str, None]:
    """See _pieces() and run(). No step blocks the event loop."""
    step = await _threaded(course, course.begin)
    while step is not None:
        if isinstance(step, Do):
            step = await _threaded(course, partial(course.follow, step))
            continue
        try:
            if type(step) is Emit:
                yield step.text
                course.send(None)
            else:
                course.send(await _ado(step))
        except GeneratorExit:
            course.throw(_left())
            raises = False
        except BaseException as error:  # noqa: BLE001 - see _steps()
            course.throw(error)
        step = course.next()
    if course.book.is_stale:
        await sync_to_async(_refresh)(course.book)
    if raises:
        _raise_error(course.book)


async def _ado(step: Step) -> Any:
    match step:
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


async def _threaded(course: _Course, work: Callable[[], Step | None]) -> Step | None:
    """Return what is next after steps of the books, done in a thread.

    If the caller is cancelled meanwhile, the step that is under way comes to its end, and the call
    then hears of it there.
    """
    ended = await to_its_end(work, when_cancelled=course.leave)
    step = ended.result
    stop: BaseException | None = ended.cancelled
    if not ended.is_begun:
        stop = stop or ended.failure
    elif stop is None:
        if ended.failure is not None:
            raise ended.failure
        return step
    elif step is None:
        raise stop from ended.failure
    assert stop is not None  # noqa: S101 - what was not begun says why
    course.is_left = False  # what now closes the books is done to its end
    course.throw(Unsent(stop) if type(step) is Send else stop)
    return course.next()


def _let_go() -> None:
    """Give back the connection that was read through: the provider may take minutes."""
    alias = get_settings().database
    if transaction_of(alias) == "none":
        connections[alias].close()
