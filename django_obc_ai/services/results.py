"""What callers of `TextService` hold in their hands: results and streams."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from contextlib import aclosing
from decimal import Decimal
from types import TracebackType
from typing import Self, TypeAlias
from uuid import UUID

from django_obc_ai.backends.providers import providers
from django_obc_ai.exceptions import ConfigurationError, ObcAIError
from django_obc_ai.gateway.call import astream, stream
from django_obc_ai.gateway.stream_book import StreamBook
from django_obc_ai.types import CallInfo, CallOutcome, GenerationRequest, GenerationResult, Usage

Call: TypeAlias = tuple[GenerationRequest, CallInfo]


class TextStream(Iterator[str]):
    """The pieces of a streamed answer; ``result`` is there once it has ended.

    Close it, or leave its ``with`` block, when you stop reading early: what was used
    until then is booked, and the row is marked as interrupted.
    """

    def __init__(self, prepared: Call) -> None:
        """Wrap a call that starts with the first piece."""
        self._book = StreamBook(*prepared)
        self._pieces: Generator[str, None, None] = stream(self._book)

    def __next__(self) -> str:
        return next(self._pieces)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop reading; settle and record what was used."""
        self._pieces.close()

    @property
    def result(self) -> GenerationResult | None:
        """Return how the call ended, or None while it runs."""
        return _ended(self._book)


class AsyncTextStream(AsyncIterator[str]):
    """See `TextStream`; close it with ``aclose()`` or ``async with``."""

    def __init__(self, prepare: Callable[[], Call]) -> None:
        """Wrap a call that is prepared and started with the first piece."""
        self._book: StreamBook | None = None
        self._pieces = self._run(prepare)

    async def _run(self, prepare: Callable[[], Call]) -> AsyncGenerator[str, None]:
        def make() -> StreamBook:
            self._book = StreamBook(*prepare())
            return self._book

        async with aclosing(astream(make)) as pieces:
            async for piece in pieces:
                yield piece

    async def __anext__(self) -> str:
        return await anext(self._pieces)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """See TextStream.close()."""
        await self._pieces.aclose()

    @property
    def result(self) -> GenerationResult | None:
        """See TextStream.result."""
        return _ended(self._book)


def _ended(book: StreamBook | None) -> GenerationResult | None:
    if book is None or book.outcome is None:
        return None
    return result_of(book.outcome, book.request, book.info)


def result_of(outcome: CallOutcome, request: GenerationRequest, info: CallInfo) -> GenerationResult:
    """Turn how a call ended into what callers see."""
    error = outcome.error
    data = None
    if request.response_schema is not None and error is None and outcome.finish_reason == "stop":
        data = json.loads(outcome.text)
    try:
        is_offline = providers[info.provider].is_offline
    except ConfigurationError:  # that is the error being reported
        is_offline = False
    return GenerationResult(
        success=error is None,
        text=outcome.text,
        error=None if error is None else error.code,
        error_message="" if error is None else str(error),
        tokens_used=outcome.usage.total_tokens,
        cost=outcome.cost_usd,
        response_time=outcome.response_time_seconds,
        model=outcome.model_used,
        cached=outcome.cached,
        coalesced=outcome.coalesced,
        finish_reason=outcome.finish_reason,
        data=data,
        usage=outcome.usage,
        is_offline=is_offline,
        operation_id=info.operation_id,
        exception=error,
    )


def unconfigured(error: ConfigurationError) -> GenerationResult:
    """Return the result of a call that could not even be prepared; it leaves no row."""
    return without_call(error.code, str(error), exception=error)


def without_call(
    code: str,
    message: str,
    *,
    exception: ObcAIError | ConfigurationError | None,
    operation_id: UUID | None = None,
) -> GenerationResult:
    """Return the result of what came to no call, with nothing counted."""
    return GenerationResult(
        success=False,
        text="",
        error=code,
        error_message=message,
        tokens_used=0,
        cost=Decimal(0),
        response_time=0.0,
        model="",
        cached=False,
        coalesced=False,
        finish_reason="",
        data=None,
        usage=Usage(),
        is_offline=False,
        operation_id=operation_id,
        exception=exception,
    )
