"""Every paid call passes here: cache, hold, one attempt at a time, price, ledger.

`call`, `acall`, `stream` and `astream` differ only in how they wait; the books are kept
by `CallBook` for all four. They return or end in a `CallOutcome`, failures included,
because a failed call has tokens, cost and attempts too.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from typing import Any, TypeVar

from asgiref.sync import sync_to_async
from django.db import connections
from django.utils.asyncio import async_unsafe

from django_obc_ai.backends.providers import BaseProvider
from django_obc_ai.conf import get_settings
from django_obc_ai.exceptions import (
    ConfigurationError,
    ObcAIError,
    StreamInterruptedError,
)
from django_obc_ai.gateway import retry
from django_obc_ai.gateway.book import CallBook
from django_obc_ai.gateway.stream_book import StreamBook
from django_obc_ai.models.writer import transaction_of
from django_obc_ai.types import (
    CallInfo,
    CallOutcome,
    GenerationRequest,
    ProviderResponse,
    StreamChunk,
)

_SYNC = (
    "generate_text() and stream_text() would block this event loop, and nothing was sent."
    " Await agenerate_text() or iterate over astream_text() instead."
)
ResultT = TypeVar("ResultT")


@async_unsafe(_SYNC)
def call(request: GenerationRequest, info: CallInfo) -> CallOutcome:
    """Answer a request from the cache or from its provider."""
    book = CallBook(request, info)
    provider = book.prepare()
    if provider is None:
        return _ended(book)

    def attempt() -> ProviderResponse:
        book.open(provider)
        try:
            with book.trace.current():
                response = provider.generate(book.request)
        except BaseException as error:  # noqa: BLE001 - money first, then whatever it was
            failure = book.abort(error)
            raise failure from failure.__cause__
        return book.accept(response)

    try:
        return book.finish(retry.policy(may_wait=book.may_wait)(attempt))
    except (ObcAIError, ConfigurationError) as error:
        return book.finish(error=error)
    except BaseException as error:
        book.finish(error=error)
        raise


async def _whole(work: Callable[..., ResultT], *arguments: Any, **named: Any) -> ResultT:
    """Run a step of the books in a thread, to its end even if the caller is cancelled."""
    step = asyncio.ensure_future(sync_to_async(work)(*arguments, **named))
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


def _open_and_let_go(book: CallBook, provider: BaseProvider) -> None:
    """Open an attempt, and give back the connection that budgets were read through.

    The provider may take minutes, and the thread's connection would wait for its end.
    """
    book.open(provider)
    alias = get_settings().database
    if transaction_of(alias) == "none":
        connections[alias].close()


async def _open(book: CallBook, provider: BaseProvider) -> None:
    """Open an attempt; if the caller is cancelled meanwhile, nothing was sent: give it back."""
    try:
        await _whole(_open_and_let_go, book, provider)
    except asyncio.CancelledError:
        await _whole(book.take_back)
        raise


async def acall(request: GenerationRequest, info: CallInfo) -> CallOutcome:
    """See call()."""
    book = CallBook(request, info)
    provider = await _whole(book.prepare)
    if provider is None:
        return _ended(book)

    async def attempt() -> ProviderResponse:
        await _open(book, provider)
        try:
            with book.trace.current():
                response = await provider.agenerate(book.request)
        except BaseException as error:  # noqa: BLE001 - money first, then whatever it was
            failure = await _whole(book.abort, error)
            raise failure from failure.__cause__
        return await _whole(book.accept, response)

    try:
        response: ProviderResponse = await retry.apolicy(may_wait=book.may_wait)(attempt)
    except (ObcAIError, ConfigurationError) as error:
        return await _whole(book.finish, error=error)
    except BaseException as error:
        await _whole(book.finish, error=error)
        raise
    return await _whole(book.finish, response)


def _ended(book: CallBook) -> CallOutcome:
    assert book.outcome is not None  # noqa: S101 - prepare() returns None only after finish()
    return book.outcome


@async_unsafe(_SYNC)
def stream(book: StreamBook) -> Generator[str, None, None]:
    """Yield the answer's text in pieces; ``book.outcome`` is set when it ends.

    Failures before the first chunk are retried; later ones are raised. Closing the
    iterator early settles what was seen and marks the row as interrupted.

    Raises:
        ObcAIError: The call failed.
        ConfigurationError: The provider is misconfigured.
    """
    provider = book.prepare()
    if provider is None:
        outcome = _ended(book)
        if outcome.error is not None:
            raise outcome.error
        yield outcome.text
        return
    chunks: Iterator[StreamChunk] = iter(())

    def first() -> StreamChunk | None:
        nonlocal chunks
        book.open(provider)
        try:
            with book.trace.current():
                chunks = provider.stream(book.request)
                return next(chunks, None)
        except BaseException as error:  # noqa: BLE001 - money first, then whatever it was
            failure = book.abort(error)
            raise failure from failure.__cause__

    try:
        chunk = retry.policy(may_wait=book.may_wait)(first)
    except BaseException as error:
        book.finish(error=error)
        raise
    try:
        while chunk is not None:
            yield book.see(chunk)
            with book.trace.current():
                chunk = next(chunks, None)
    except BaseException as error:
        raised = book.cut(_abandoned(error))
        book.finish(error=raised)
        if raised is error or isinstance(error, GeneratorExit):
            raise
        raise raised from raised.__cause__
    finally:
        close = getattr(chunks, "close", None)
        if close is not None:
            close()
    _conclude(book)


async def astream(book: StreamBook) -> AsyncGenerator[str, None]:
    """See stream()."""
    provider = await _whole(book.prepare)
    if provider is None:
        outcome = _ended(book)
        if outcome.error is not None:
            raise outcome.error
        yield outcome.text
        return
    chunks: AsyncIterator[StreamChunk]

    async def first() -> StreamChunk | None:
        nonlocal chunks
        await _open(book, provider)
        try:
            with book.trace.current():
                chunks = provider.astream(book.request)
                return await anext(chunks, None)
        except BaseException as error:  # noqa: BLE001 - money first, then whatever it was
            failure = await _whole(book.abort, error)
            raise failure from failure.__cause__

    try:
        chunk: StreamChunk | None = await retry.apolicy(may_wait=book.may_wait)(first)
    except BaseException as error:
        await _whole(book.finish, error=error)
        raise
    try:
        while chunk is not None:
            yield book.see(chunk)
            with book.trace.current():
                chunk = await anext(chunks, None)
    except BaseException as error:
        raised = await _whole(book.cut, _abandoned(error))
        await _whole(book.finish, error=raised)
        if raised is error or isinstance(error, GeneratorExit):
            raise
        raise raised from raised.__cause__
    finally:
        close = getattr(chunks, "aclose", None)
        if close is not None:
            await close()
    await _whole(_conclude, book)


def _abandoned(error: BaseException) -> BaseException:
    if isinstance(error, GeneratorExit):
        return StreamInterruptedError("The caller stopped reading before the answer was finished.")
    return error


def _conclude(book: StreamBook) -> None:
    try:
        response = book.complete()
    except StreamInterruptedError as error:
        raised = book.cut(error)
        book.finish(error=raised)
        raise raised from None
    except ObcAIError as error:
        book.finish(error=error)
        raise
    book.finish(response)
