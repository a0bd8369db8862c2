"""Reading the pieces of a streamed answer, whoever sends them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any

from django_obc_ai.exceptions import BadResponseError, ProviderError, StreamInterruptedError
from django_obc_ai.types import FinishReason, StreamChunk, Usage


class StreamReader:
    """Reads one stream; its counts are cumulative, and none may fall."""

    def __init__(
        self,
        read_piece: Callable[[Mapping[str, Any]], StreamChunk],
        translated: Callable[[], AbstractContextManager[None]],
    ) -> None:
        """Say how the provider's pieces and errors become ours.

        Args:
            read_piece: Turns a piece's JSON into a chunk, with a finish_reason where the
                provider sent one.
            translated: Turns errors of the SDK that are raised inside into ours.
        """
        self._read_piece = read_piece
        self._translated = translated
        self._usage: Usage | None = None
        self._finish: FinishReason | None = None
        self._model = ""
        self._is_begun = False

    def read(self, piece: Mapping[str, Any]) -> StreamChunk:
        """Return the chunk for a piece; the finish_reason is kept for `finish`."""
        is_first, self._is_begun = not self._is_begun, True
        try:
            chunk = self._read_piece(piece)
        except ProviderError as error:
            if error.usage is not None:
                self._usage = error.usage.after(self._usage)
            # In mid stream the counts are of what came until now, not of the whole.
            error.usage = self._usage if is_first else self._floor()
            error.model = error.model or self._model
            raise
        if chunk.usage is not None:
            self._usage = chunk.usage.after(self._usage)
        self._model = chunk.model or self._model
        if chunk.finish_reason is not None:
            self._finish = chunk.finish_reason
            if chunk.usage is None:  # what was counted before is a floor, unless more comes
                self._usage = self._floor()
        usage = None if chunk.usage is None else self._usage
        return replace(chunk, usage=usage, finish_reason=None, model=self._model)

    def finish(self) -> StreamChunk:
        """Return the last chunk; raise if the stream ended before the answer did."""
        if not self._is_begun:
            raise BadResponseError("The provider answered with a stream that holds nothing.")
        if self._finish is None:
            raise self._interrupted("The stream ended before the answer was finished.")
        return StreamChunk(usage=self._usage, finish_reason=self._finish, model=self._model)

    @contextmanager
    def translating(self) -> Iterator[None]:
        """Turn errors into ours; once a piece has come they interrupt the answer."""
        try:
            with self._translated():
                yield
        except ProviderError as error:
            if not self._is_begun:
                raise
            raise self._interrupted(f"The stream broke off: {error}") from None

    def _interrupted(self, message: str) -> StreamInterruptedError:
        return StreamInterruptedError(message, usage=self._floor(), model=self._model)

    def _floor(self) -> Usage | None:
        return None if self._usage is None else replace(self._usage, is_exact=False)
