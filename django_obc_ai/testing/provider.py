"""A provider that does what a script says, for tests of projects and of this package."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias, cast

from asgiref.sync import sync_to_async

from django_obc_ai.backends.providers import _offline_text as reading
from django_obc_ai.backends.providers.base import DEFAULT_MAX_OUTPUT_TOKENS, BaseProvider
from django_obc_ai.exceptions import StreamInterruptedError
from django_obc_ai.types import (
    FinishReason,
    GenerationRequest,
    ProviderResponse,
    StreamChunk,
    Usage,
)


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer of the script.

    Attributes:
        text: The answer; left empty, the joined ``chunks``.
        usage: What the provider reports; None counts the tokens of request and answer.
        finish_reason: "stop", "length", "blocked", …
        model: The model that answers; "" is the one asked for, else the provider's own.
        delay_seconds: Wait before the answer, or before the first chunk of a stream.
        chunks: The pieces of a stream; None streams word by word.
    """

    text: str = ""
    usage: Usage | None = None
    finish_reason: FinishReason = "stop"
    model: str = ""
    delay_seconds: float = 0.0
    chunks: Sequence[str] | None = None

    def __post_init__(self) -> None:
        """Fill in the text, or refuse chunks that tell another story."""
        if self.chunks is None:
            return
        joined = "".join(self.chunks)
        if self.text and self.text != joined:
            raise ValueError("the chunks of a Reply do not join to its text")
        object.__setattr__(self, "text", joined)


@dataclass(frozen=True, slots=True)
class CutStream:
    """An answer that breaks off: streams its chunks, then raises `StreamInterruptedError`.

    Without streaming the error comes at once.

    Attributes:
        chunks: The pieces that arrive.
        usage: What the provider has reported by then, with the last chunk and in the
            error; None if it has reported nothing.
        delay_seconds: Wait before the first chunk.
    """

    chunks: Sequence[str] = ()
    usage: Usage | None = None
    delay_seconds: float = 0.0


#: What one call does. A callable gets the request and returns one of the others; an
#: exception class or instance is raised.
ScriptItem: TypeAlias = (
    "Reply | CutStream | str | BaseException | type[BaseException]"
    " | Callable[[GenerationRequest], ScriptItem]"
)
_Played: TypeAlias = Reply | CutStream | BaseException


class ScriptedProvider(BaseProvider):
    """Answers each call with the next item of its script and records the request.

    One item serves one call of `generate`, `stream` or their async twins, in the order
    the calls arrive; a stream takes its item when it is first iterated. Answers longer
    than ``max_output_tokens`` are cut, as a real provider does.

    Attributes:
        requests: All requests so far, in order.
    """

    supports_schema = True
    supports_streaming = True

    def __init__(
        self,
        *,
        script: ScriptItem | Sequence[ScriptItem] = (),
        repeat_last: bool = False,
        model: str = "scripted",
        is_free: bool = False,
        max_output_tokens: int = DEFAULT_MAX_OUTPUT_TOKENS,
        generation_options: Iterable[str] = (),
    ) -> None:
        """Take the script.

        Args:
            script: A list or tuple of items, or a single item.
            repeat_last: Whether the last item serves all further calls; otherwise a call
                beyond the end of the script fails the test.
            model: Name of the model when the call names none.
            is_free: Whether calls count as free, so that no price is needed.
            max_output_tokens: Upper bound of an answer.
            generation_options: Extra keyword arguments that calls may use.
        """
        self.model = model
        self.max_output_tokens = max_output_tokens
        # A class declares these once for all; a double stands for many classes.
        object.__setattr__(self, "is_free", is_free)
        object.__setattr__(self, "generation_options", frozenset(generation_options))
        self.requests: list[GenerationRequest] = []
        items = script if isinstance(script, (list, tuple)) else [script]
        # cast: a text is a sequence too but one item, which the annotation cannot say.
        self._script = cast("list[ScriptItem]", list(items))
        self._repeat_last = repeat_last
        self._lock = threading.Lock()

    @property
    def call_count(self) -> int:
        """Number of calls so far, failed ones included."""
        return len(self.requests)

    def generate(self, request: GenerationRequest) -> ProviderResponse:
        """Do what the next item of the script says.

        Raises:
            AssertionError: The script is at its end.
            BaseException: Whatever the script says.
        """
        played = _play(self._next_item(request), request)
        time.sleep(_delay(played))
        return self._respond(played, request)

    async def agenerate(self, request: GenerationRequest) -> ProviderResponse:
        """See generate(). Waits without holding up the loop."""
        played = await _aplay(self._next_item(request), request)
        await asyncio.sleep(_delay(played))
        return self._respond(played, request)

    def stream(self, request: GenerationRequest) -> Iterator[StreamChunk]:
        """Stream what the next item of the script says; see generate() for errors."""
        played = _play(self._next_item(request), request)
        time.sleep(_delay(played))
        yield from self._split(played, request)

    async def astream(self, request: GenerationRequest) -> AsyncIterator[StreamChunk]:
        """See stream(). Waits without holding up the loop."""
        played = await _aplay(self._next_item(request), request)
        await asyncio.sleep(_delay(played))
        for chunk in self._split(played, request):
            yield chunk

    def count_tokens(self, request: GenerationRequest) -> int:
        """Return the prompt's tokens by the offline provider's rule, at least 1."""
        return reading.count_request_tokens(request)

    def _next_item(self, request: GenerationRequest) -> ScriptItem:
        with self._lock:
            self.requests.append(request)
            number = len(self.requests)
        if number > len(self._script) and not (self._repeat_last and self._script):
            raise AssertionError(
                f"The script of ScriptedProvider holds {len(self._script)} replies and this is"
                f" call {number}. Add replies, or pass repeat_last=True."
            )
        return self._script[min(number, len(self._script)) - 1]

    def _respond(self, played: _Played, request: GenerationRequest) -> ProviderResponse:
        if isinstance(played, BaseException):
            raise played
        if isinstance(played, CutStream):
            raise _interruption(played)
        text, is_cut = reading.cut_tokens(played.text, self.bound_output_tokens(request))
        usage = played.usage or Usage(
            input_tokens=self.count_tokens(request), output_tokens=reading.count_tokens(text)
        )
        is_long = is_cut and played.finish_reason == "stop"
        return ProviderResponse(
            text=text,
            finish_reason="length" if is_long else played.finish_reason,
            usage=usage,
            model=played.model or request.model or self.model,
        )

    def _split(self, played: _Played, request: GenerationRequest) -> Iterator[StreamChunk]:
        if isinstance(played, CutStream):
            for number, text in enumerate(played.chunks, start=1):
                usage = played.usage if number == len(played.chunks) else None
                yield StreamChunk(text=text, usage=usage, model=request.model or self.model)
            raise _interruption(played)
        response = self._respond(played, request)
        pieces = played.chunks if isinstance(played, Reply) else None
        *first, last = _fit(pieces or reading.split_words(response.text), response.text) or [""]
        for text in first:
            yield StreamChunk(text=text, model=response.model)
        yield StreamChunk(
            text=last,
            usage=response.usage,
            finish_reason=response.finish_reason,
            model=response.model,
        )


def _play(item: ScriptItem, request: GenerationRequest) -> _Played:
    while not isinstance(item, (Reply, CutStream, BaseException)):
        if isinstance(item, str):
            item = Reply(item)
        elif isinstance(item, type):
            item = _construct(item)
        elif callable(item):
            item = item(request)
        else:
            raise TypeError(
                f"a script holds Reply, CutStream, str, exceptions and callables, not"
                f" {type(item).__name__}"
            )
    return item


def _construct(error: type[BaseException]) -> BaseException:
    return error()


async def _aplay(item: ScriptItem, request: GenerationRequest) -> _Played:
    if isinstance(item, (Reply, CutStream, BaseException, str)):
        return _play(item, request)
    # A callable of the test may block, for example on a barrier.
    return await sync_to_async(_play, thread_sensitive=False)(item, request)


def _delay(played: _Played) -> float:
    return 0.0 if isinstance(played, BaseException) else played.delay_seconds


def _interruption(cut: CutStream) -> StreamInterruptedError:
    return StreamInterruptedError("The script cuts the stream here.", usage=cut.usage)


def _fit(pieces: Sequence[str], text: str) -> list[str]:
    """Return the pieces up to the length of a text that may have been cut."""
    found, left = [], len(text)
    for piece in pieces:
        if left <= 0:
            break
        found.append(piece[:left])
        left -= len(piece)
    return found
