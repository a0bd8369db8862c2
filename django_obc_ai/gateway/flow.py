"""The course of a paid call, written once for threads and for event loops.

`converse` yields what is to be done next and is sent what came of it; the four ways to call in
`call` differ only in how they do it. So nothing here waits, sends or sleeps by itself.

    cache → flight (lead, or take another call's answer) → aliases in order → attempts, each with a
    permit, a hold and its books → cache, row, settlement, landing
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from django_obc_ai.conf import get_settings
from django_obc_ai.exceptions import (
    ConfigurationError,
    ObcAIError,
    ProviderPausedError,
    RateLimitedError,
    RateLimitError,
    SharedCallError,
    StreamInterruptedError,
)
from django_obc_ai.gateway import ratelimit
from django_obc_ai.gateway.book import CallBook
from django_obc_ai.gateway.singleflight import Flight, Landing
from django_obc_ai.gateway.stream_book import StreamBook
from django_obc_ai.gateway.telling import tell
from django_obc_ai.logs import events
from django_obc_ai.signals import call_fell_back, call_retried
from django_obc_ai.types.coordination import Boarding


@dataclass(frozen=True, slots=True)
class Do:
    """A step of the books: blocks, briefly, and is to be run to its end.

    Attributes:
        work: What to do.
        is_followed_by_wait: Whether what it has read through may be needed no more for minutes.
    """

    work: Callable[[], Any]
    is_followed_by_wait: bool = False


@dataclass(frozen=True, slots=True)
class Send:
    """The request of an attempt; a stream's comes back with its first chunk."""

    book: CallBook


@dataclass(frozen=True, slots=True)
class Next:
    """The next chunk of a stream, None at its end."""

    book: StreamBook


@dataclass(frozen=True, slots=True)
class Stop:
    """The end of reading a stream, whether it has ended or not."""

    book: StreamBook


@dataclass(frozen=True, slots=True)
class Sleep:
    """Nothing, for so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Emit:
    """A piece of the answer's text for whoever reads a stream."""

    text: str


class Unsent(BaseException):
    """What stopped the caller, thrown at a `Send` that nothing was done about yet."""

    def __init__(self, cause: BaseException) -> None:
        """Wrap it."""
        super().__init__()
        self.cause = cause


Step: TypeAlias = Do | Send | Next | Stop | Sleep | Emit
Flow: TypeAlias = Generator[Step, Any, Any]


def converse(book: CallBook) -> Flow:
    """Answer a prepared request; ``book.outcome`` says how it ended, and holds the error if any.

    Raises:
        BaseException: What stopped the caller itself, after the books were closed.
    """
    try:
        if book.outcome is None:
            yield from _answer(book)
        if isinstance(book, StreamBook) and (rest := book.rest()):
            yield Emit(rest)
    except BaseException as error:
        cause = error
        if book.outcome is None:
            yield Do(lambda: book.finish(error=cause))
        if not isinstance(error, (ObcAIError, ConfigurationError)):
            raise


def _answer(book: CallBook) -> Flow:
    if book.flight is not None:
        yield from _board(book, book.flight)
    if book.outcome is None:
        response = yield from _chain(book)
        if isinstance(book, StreamBook) and book.outcome is None:
            response = yield from _read(book, response)
        if book.outcome is None:
            yield Do(lambda: book.finish(response))


def _board(book: CallBook, flight: Flight) -> Flow:
    """Lead a flight, or end the call with what another one leaves; ``outcome`` tells which."""
    leader = ""
    while True:
        boarding: Boarding | None = yield Do(flight.board, is_followed_by_wait=True)
        if isinstance(book, StreamBook) and not book.is_continued_by(boarding, leader):
            raise StreamInterruptedError(
                "The call that asked the same, and whose text this one passed on, has ended early."
            )
        if boarding is None:
            return
        leader = boarding.leader
        if boarding.text and isinstance(book, StreamBook):
            yield Emit(book.pass_on(boarding.text))
        if boarding.role == "lead":
            if boarding.is_takeover or flight.was_boarded_late:
                yield Do(book.take_stored)
            return
        if boarding.role == "follow" and not book.patience.may_wait:
            return  # with a transaction open nobody waits, for another call as little as for limits
        if boarding.role == "landed":
            yield Do(partial(book.take_landed, Landing(boarding.answer)))
            return
        if boarding.role == "lost":
            raise SharedCallError(
                "Two processes died over this same call, so it is not made a third time for now."
                " Look into their logs; the prompt, or what handles its answer, may be the cause."
            )
        yield from _wait(book, min(flight.next_pause(), _time_left(book)))


def _time_left(book: CallBook) -> float:
    left = book.patience.remaining_seconds()
    if left <= 0:
        raise SharedCallError(
            "Another call that asks the same has come to no answer within"
            f" {get_settings().retry.deadline_seconds:g} seconds (OBC_AI['RETRY'])."
        )
    return left


def _chain(book: CallBook) -> Flow:
    """Ask the provider and, where it fails, those that stand in for it; return what came.

    Nobody waits for a limit while another may have room. Those that have none are asked once more
    after all others, whose room comes first before the rest, and then the call waits.
    """
    others = list(get_settings().fallbacks.get(book.info.provider, ())) if book.may_turn else []
    room_at: dict[str, float] = {}
    may_wait = is_second_round = False
    while True:
        left = len(others) + len(room_at)
        book.patience.waits_for_limits = is_second_round or not left
        try:
            return (yield from _attempts(book, others=left))
        except ObcAIError as error:
            if isinstance(error, RateLimitedError):  # what one never takes, another takes later
                error.is_final = error.is_final and not may_wait
            may_wait = may_wait or _passes(error)
            failed = book.info.provider
            time_left = book.patience.remaining_seconds()
            if not book.patience.waits_for_limits and ratelimit.has_room_soon(error, time_left):
                room_at[failed] = time.monotonic() + float(error.retry_after_seconds or 0.0)
            if not book.patience.may_turn_from(error, attempts=book.attempts):
                raise
            while not (yield from _turn(book, others)):
                if not room_at:
                    raise
                others, room_at = sorted(room_at, key=room_at.__getitem__), {}
                is_second_round = True
            if book.info.provider != failed:
                _tell_fallback(book, failed, error)
        if book.outcome is not None:  # the other one's answer was in the cache
            return None


def _passes(error: ObcAIError) -> bool:
    """Return whether a provider that refused may take the same request later."""
    if isinstance(error, RateLimitedError):
        return not error.is_final
    return isinstance(error, (ProviderPausedError, RateLimitError))


def _turn(book: CallBook, others: list[str]) -> Flow:
    """Go on to the next provider that can be asked this; False if there is none."""
    while others:
        alias = others.pop(0)
        if (yield Do(partial(book.turn_to, alias))):
            yield Do(book.take_stored)
            return True
    return False


def _attempts(book: CallBook, *, others: int) -> Flow:
    """Ask one provider until it answers, or no further try makes sense; return what came."""
    while True:
        before = book.attempts
        try:
            return (yield from _attempt(book))
        except ObcAIError as error:
            wait = book.patience.wait_before_next(error, attempts=book.attempts, others=others)
            if wait is None:
                raise
            if book.attempts > before:
                _tell_retry(book, error, wait)
        yield Sleep(wait)


def _attempt(book: CallBook) -> Flow:
    """Make one attempt, with its permit, its hold and its books; return what came."""
    try:
        while wait := (yield Do(book.open, is_followed_by_wait=True)):
            yield from _wait(book, wait)
    except BaseException:
        yield Do(book.take_back)
        raise
    try:
        received = yield Send(book)
    except Unsent as stop:
        yield Do(book.take_back)
        raise stop.cause from None
    except BaseException as error:  # noqa: BLE001 - money first, then whatever it was
        cause = error
        failure = yield Do(lambda: book.abort(cause))
        raise failure from failure.__cause__
    return (yield Do(lambda: book.accept(received)))


def _wait(book: CallBook, seconds: float) -> Flow:
    began = time.perf_counter()
    try:
        yield Sleep(seconds)
    finally:
        book.waited_seconds += time.perf_counter() - began


def _read(book: StreamBook, chunk: Any) -> Flow:
    """Pass a stream on from its first chunk; return the whole answer."""
    try:
        while chunk is not None:
            text = book.see(chunk)
            if book.flight is not None and book.flight.is_to_publish(text):
                yield Do(book.flight.publish, is_followed_by_wait=True)
            yield Emit(text)
            if book.flight is not None:
                book.flight.go_on()
            chunk = yield Next(book)
    except BaseException as error:
        stopped = error
        raised = yield Do(lambda: book.cut(stopped))
        yield Do(lambda: book.finish(error=raised))
        yield Stop(book)
        if raised is error:
            raise
        raise raised from raised.__cause__
    yield Stop(book)
    try:
        return (yield Do(book.complete))
    except StreamInterruptedError as error:
        unfinished = error
        yield Do(lambda: book.cut(unfinished))
        raise


def _tell_retry(book: CallBook, error: ObcAIError, wait: float) -> None:
    alias = book.info.provider
    events.CALLS_RETRIED.log(
        about=f"{alias} {error.code}",
        alias=alias,
        attempt=book.attempts,
        error_category=error.code,
        wait_ms=round(wait * 1000),
    )
    tell(
        call_retried,
        operation_id=book.info.operation_id,
        alias=alias,
        attempt=book.attempts,
        error=error,
        wait_seconds=wait,
    )


def _tell_fallback(book: CallBook, failed: str, error: ObcAIError) -> None:
    alias = book.info.provider
    events.CALLS_FELL_BACK.log(
        about=f"{failed} {alias} {error.code}",
        from_alias=failed,
        to_alias=alias,
        error_category=error.code,
    )
    tell(
        call_fell_back,
        operation_id=book.info.operation_id,
        from_alias=failed,
        to_alias=alias,
        error=error,
    )
