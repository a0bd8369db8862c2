"""The books of one streamed call."""

from __future__ import annotations

import time
from dataclasses import replace

from django_obc_ai.backends.providers import BaseProvider
from django_obc_ai.exceptions import StreamInterruptedError
from django_obc_ai.gateway.book import CallBook
from django_obc_ai.types import (
    CallInfo,
    GenerationRequest,
    ProviderResponse,
    StreamChunk,
    Usage,
)


class StreamBook(CallBook):
    """The books of a streamed call: collects the chunks of the attempt that answers."""

    def __init__(self, request: GenerationRequest, info: CallInfo) -> None:
        """See `CallBook`."""
        super().__init__(request, info)
        self._texts: list[str] = []
        self._seen: Usage | None = None
        self._last: StreamChunk = StreamChunk()

    def _begin_trace(self, provider: BaseProvider) -> None:
        self.trace.begin(self.request, provider, is_streamed=True)

    def see(self, chunk: StreamChunk) -> str:
        """Note a chunk and return its text; usage is cumulative and does not fall."""
        if chunk.text and self._first_chunk is None:
            self._first_chunk = time.perf_counter() - self._clock
        self._texts.append(chunk.text)
        self._seen = chunk.usage.after(self._seen) if chunk.usage else self._seen
        self._model_used = chunk.model or self._model_used
        self._last = chunk
        return chunk.text

    def complete(self) -> ProviderResponse:
        """Settle a stream that came to its end.

        Raises:
            StreamInterruptedError: It ended without a finish_reason.
        """
        if self._last.finish_reason is None:
            raise StreamInterruptedError("The stream ended before the answer was finished.")
        return self.accept(
            ProviderResponse(
                text="".join(self._texts),
                finish_reason=self._last.finish_reason,
                usage=self._seen if self._last.usage is not None else self._floor(),
                model=self._model_used,
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
