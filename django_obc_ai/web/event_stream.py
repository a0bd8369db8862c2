"""Server-sent events: a turn of the chat, told while it is being answered.

The format is that of the HTML standard, https://html.spec.whatwg.org/#server-sent-events.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import aclosing, suppress
from typing import Any, Protocol

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.core.serializers.json import DjangoJSONEncoder
from django.http import HttpRequest, StreamingHttpResponse

from django_obc_ai.conf import get_settings
from django_obc_ai.logs import events
from django_obc_ai.models import Conversation
from django_obc_ai.models.connections import release_connections
from django_obc_ai.services.chat import ChatService
from django_obc_ai.types.chat import ChatAnswer

CONTENT_TYPE = "text/event-stream; charset=utf-8"
_KEEP_ALIVE = b":\n\n"
_FAILED = {"code": "failed", "detail": "The answer broke off."}


class Teller(Protocol):
    """Writes the events of one turn; each method returns any number of them."""

    def begin(self, conversation: Conversation) -> Iterable[bytes]:
        """Tell that it begins, in one event; reads no database."""
        ...

    def piece(self, text: str) -> Iterable[bytes]:
        """Tell a piece of the answer's text; reads no database."""
        ...

    def end(self, answer: ChatAnswer) -> Iterable[bytes]:
        """Tell the whole answer, once it is stored."""
        ...


def write_event(name: str, data: Any) -> bytes:
    """Return one event, with its data as one line of JSON."""
    text = json.dumps(data, cls=DjangoJSONEncoder, ensure_ascii=False, separators=(",", ":"))
    return f"event: {name}\ndata: {text}\n\n".encode(errors="replace")


def tell_turn(
    request: HttpRequest,
    service: ChatService,
    message: str,
    *,
    user: Any,
    conversation: Conversation,
    teller: Teller,
) -> StreamingHttpResponse:
    """Answer a message in a stream of events, by the server's own kind: ASGI or WSGI.

    Under ASGI no thread and no database connection waits for the provider, and a client that
    goes away ends the call at once; under WSGI it does with the next piece. Either way what was
    used until then is booked.
    """
    arguments = {"user": user, "conversation": conversation}
    response: StreamingHttpResponse
    if isinstance(request, ASGIRequest):
        response = _EventStream(_Pieces(lambda: _atold(service, message, arguments, teller)))
    else:
        pieces = _told(service, message, arguments, teller)
        response = StreamingHttpResponse(pieces, content_type=CONTENT_TYPE)
    response["Cache-Control"] = "no-store"
    response["X-Accel-Buffering"] = "no"  # nginx would collect the pieces
    return response


def _told(
    service: ChatService, message: str, arguments: dict[str, Any], teller: Teller
) -> Iterator[bytes]:
    try:
        yield from teller.begin(arguments["conversation"])
        with service.stream(message, **arguments) as stream:
            for piece in stream:
                yield from teller.piece(piece)
        if stream.answer is not None:
            yield from teller.end(stream.answer)
    except Exception as error:  # noqa: BLE001 - the status is out; the client is told, and the log
        events.WEB_STREAM_FAILED.log(error=error)
        yield write_event("error", _FAILED)


async def _atold(
    service: ChatService, message: str, arguments: dict[str, Any], teller: Teller
) -> AsyncGenerator[bytes, None]:
    try:
        # The connection of the request that led here is given back with the turn's first step.
        for each in teller.begin(arguments["conversation"]):
            yield each
        async with service.astream(message, **arguments) as stream:
            async for piece in stream:
                for each in teller.piece(piece):
                    yield each
        if stream.answer is not None:
            for each in await sync_to_async(_last)(teller, stream.answer):
                yield each
    except Exception as error:  # noqa: BLE001 - see _told()
        events.WEB_STREAM_FAILED.log(error=error)
        yield write_event("error", _FAILED)


def _last(teller: Teller, answer: ChatAnswer) -> list[bytes]:
    try:
        return list(teller.end(answer))
    finally:
        release_connections()


class _Pieces:
    """The events of a turn, and comments while there are none: proxies end what is silent.

    The turn runs in a task of its own, at most one event ahead of the client.
    """

    def __init__(self, begin: Callable[[], AsyncGenerator[bytes, None]]) -> None:
        self._begin = begin
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(1)
        self._turn: asyncio.Task[None] | None = None

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        seconds = get_settings().web.keep_alive_seconds
        turn = self._turn = asyncio.create_task(self._run())
        while True:
            try:
                async with asyncio.timeout(seconds):
                    each = await self._queue.get()
            except TimeoutError:
                if turn.done():  # it was cancelled from elsewhere
                    return
                yield _KEEP_ALIVE
                continue
            if each is None:
                await turn
                return
            yield each

    async def _run(self) -> None:
        try:
            async with aclosing(self._begin()) as told:
                async for each in told:
                    await self._queue.put(each)
            await self._queue.put(None)
        finally:
            await sync_to_async(release_connections)()

    async def aclose(self) -> None:
        """End the turn, if it has not ended; return when its books are closed."""
        if self._turn is not None:
            self._turn.cancel()
            with suppress(asyncio.CancelledError):
                await self._turn


class _EventStream(StreamingHttpResponse):
    """Ends the turn when the server stops reading, at whatever point that is.

    Django closes the response's iterator, and not what that iterates over: a turn would go on,
    with money held, until the collector of garbage comes by.
    """

    def __init__(self, pieces: _Pieces) -> None:
        super().__init__(pieces.__aiter__(), content_type=CONTENT_TYPE)
        self._pieces = pieces

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        try:
            async for each in super().__aiter__():
                yield each
        finally:
            await self._pieces.aclose()
