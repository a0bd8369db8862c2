"""The books of one streamed call."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

from django_obc_ai.exceptions import StreamInterruptedError
from django_obc_ai.gateway.book import CallBook
from django_obc_ai.gateway.singleflight import Landing
from django_obc_ai.types import (
    CallInfo,
    GenerationRequest,
    ProviderResponse,
    StreamChunk,
    Usage,
)
from django_obc_ai.types.coordination import Boarding


class StreamBook(CallBook):
    """The books of a streamed call: collects the chunks of the attempt that answers."""

    def __init__(self, request: GenerationRequest, info: CallInfo) -> None:
        """See `CallBook`."""
        super().__init__(request, info)
        self._texts: list[str] = []
        self._seen: Usage | None = None
        self._last: StreamChunk = StreamChunk()
        self._chunks: Iterator[StreamChunk] | None = None
        self._achunks: AsyncIterator[StreamChunk] | None = None

    def _traced(self) -> dict[str, Any]:
        return {"is_streamed": True}

    def send(self) -> StreamChunk | None:
        """Begin a stream, and return its first chunk."""
        self._lend()
        self._chunks = self.provider.stream(self.request)
        return self.next()

    async def asend(self) -> StreamChunk | None:
        """See send()."""
        self._achunks = self.provider.astream(self.request)
        return await self.anext()

    def next(self) -> StreamChunk | None:
        """Return the next chunk, None at the end."""
        return None if self._chunks is None else next(self._chunks, None)

    async def anext(self) -> StreamChunk | None:
        """See next()."""
        return None if self._achunks is None else await anext(self._achunks, None)

    def stop(self) -> None:
        """Let go of the stream."""
        close = getattr(self._chunks, "close", None)
        if close is not None:
            close()

    async def astop(self) -> None:
        """See stop()."""
        close = getattr(self._achunks, "aclose", None)
        if close is not None:
            await close()

    def accept(self, response: Any) -> Any:
        """Return the first chunk; the books of a stream are closed by `complete` or `cut`."""
        return response

    def see(self, chunk: StreamChunk) -> str:
        """Note a chunk and return its text; usage is cumulative and does not fall."""
        self._seen = chunk.usage.after(self._seen) if chunk.usage else self._seen
        self.bill.model_used = chunk.model or self.bill.model_used
        self._last = chunk
        return self.pass_on(chunk.text)

    def pass_on(self, text: str) -> str:
        """Note a piece of the answer, whoever received it, and return it."""
        if text and self._first_chunk is None:
            self._first_chunk = time.perf_counter() - self._clock
        self._texts.append(text)
        return text

    def is_continued_by(self, boarding: Boarding | None, leader: str) -> bool:
        """Return whether what a flight says goes on with what the reader has seen of it.

        Args:
            boarding: What it says; None if it cannot be asked.
            leader: Whose text was passed on.
        """
        shown = self._text_so_far()
        if not shown:
            return True
        if boarding is None or boarding.role != "landed":
            return boarding is not None and boarding.leader == leader
        answer = Landing(boarding.answer).response
        return answer is None or answer.text.startswith(shown)

    def rest(self) -> str:
        """Return what the reader of a good answer has not seen of it."""
        if self.outcome is None or self.outcome.error is not None:
            return ""
        return self.outcome.text.removeprefix(self._text_so_far())

    def complete(self) -> ProviderResponse:
        """Settle a stream that came to its end.

        Raises:
            StreamInterruptedError: It ended without a finish_reason.
        """
        if self._last.finish_reason is None:
            raise StreamInterruptedError("The stream ended before the answer was finished.")
        return super().accept(
            ProviderResponse(
                text=self._text_so_far(),
                finish_reason=self._last.finish_reason,
                usage=self._seen if self._last.usage is not None else self._floor(),
                model=self.bill.model_used,
            )
        )

    def cut(self, error: BaseException) -> BaseException:
        """Settle a stream that broke or was abandoned by the floor that was seen."""
        return self.abort(error, seen=self._floor())

    def _text_so_far(self) -> str:
        return "".join(self._texts)

    def _floor(self) -> Usage | None:
        """Return what was counted before the end: at least this much was used."""
        return None if self._seen is None else replace(self._seen, is_exact=False)
