"""Clients that read streams: asyncio without an HTTP library, to cost little beside the server."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from tests.acceptance._streams_site import TOKEN

PATIENCE_SECONDS = 90
#: What only `ask_provider` asks.
OWN = "What does it take?"


@dataclass
class Told:
    """What one client was told.

    Attributes:
        first_seconds: From the request to the first text; None if none came.
        seconds: Until the end.
        names: Of the events, in order.
        text: Of the answer, as it came in pieces.
        answer: The last event's data.
        failure: Why it is no whole stream, "" if it is.
    """

    status: int = 0
    first_seconds: float | None = None
    seconds: float = 0.0
    names: list[str] = field(default_factory=list)
    text: str = ""
    answer: Any = None
    failure: str = ""

    @property
    def is_complete(self) -> bool:
        """Was it told a whole answer, in pieces that make it up?"""
        return (
            not self.failure
            and self.names[:1] == ["conversation"]
            and self.names[-1:] == ["answer"]
            and self.answer["error"] is None
            and self.answer["text"] == self.text
        )


def post(path: str, body: Any, *, host: str, headers: dict[str, str]) -> bytes:
    """Return a request with a JSON body, the only one on its connection."""
    data = json.dumps(body).encode()
    return request(
        "POST", path, data,
        {"Host": host, "Content-Type": "application/json", "Connection": "close", **headers},
    )  # fmt: skip


def request(method: str, path: str, data: bytes, headers: dict[str, str]) -> bytes:
    """Return a request."""
    length = {"Content-Length": len(data)} if method == "POST" else {}
    lines = [f"{method} {path} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in {**headers, **length}.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


async def read_body(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Yield the chunks of a chunked body."""
    while size := int(await reader.readline() or b"0", 16):
        yield await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readline()


async def read_head(reader: asyncio.StreamReader) -> int:
    """Return the status, once the headers are read."""
    head = await reader.readuntil(b"\r\n\r\n")
    return int(head.split(b" ", 2)[1])


async def ask(port: int, session: str, message: str, *, leave_after: float | None = None) -> Told:
    """Ask in a stream and read it to its end, or go away after so many seconds."""
    told = Told()
    began = time.perf_counter()
    try:
        async with asyncio.timeout(PATIENCE_SECONDS if leave_after is None else leave_after):
            await _read(told, port, session, message, began)
    except TimeoutError:
        told.failure = "left" if leave_after is not None else "too slow"
    except (OSError, ValueError, EOFError, asyncio.LimitOverrunError) as error:
        told.failure = repr(error)
    told.seconds = time.perf_counter() - began
    return told


async def _read(told: Told, port: int, session: str, message: str, began: float) -> None:
    headers = {
        "Accept": "text/event-stream", "X-CSRFToken": TOKEN,
        "Cookie": f"sessionid={session}; csrftoken={TOKEN}",
    }  # fmt: skip
    body, host = {"message": message}, f"127.0.0.1:{port}"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(post("/ai/api/chat/stream/", body, host=host, headers=headers))
        told.status = await read_head(reader)
        if told.status != 200:
            told.failure = f"{told.status} {(await reader.read())[:300]!r}"
            return
        await note_events(told, reader, began)
    finally:
        writer.close()


async def note_events(told: Told, reader: asyncio.StreamReader, began: float) -> None:
    """Read a stream to its end."""
    rest = b""
    async for data in read_body(reader):
        *events, rest = (rest + data).split(b"\n\n")
        for event in events:
            _note(told, event, began)


def _note(told: Told, event: bytes, began: float) -> None:
    name, _, data = event.partition(b"\n")
    if name.startswith(b":"):
        return
    told.names.append(name.removeprefix(b"event: ").decode())
    value = json.loads(data.removeprefix(b"data: "))
    if told.names[-1] == "text":
        if told.first_seconds is None:
            told.first_seconds = time.perf_counter() - began
        told.text += value["text"]
    elif told.names[-1] in ("answer", "error"):
        told.answer = value


async def ask_provider(url: str, key: str, model: str) -> float:
    """Ask the provider itself as a turn does, a plan and then a stream; return the seconds.

    Until the first piece of text: what no server in between can be faster than.
    """
    host = url.removeprefix("http://")
    address, port = host.split(":")
    body = {"contents": [{"role": "user", "parts": [{"text": OWN}]}]}
    began = time.perf_counter()
    for method in ("generateContent", "streamGenerateContent?alt=sse"):
        reader, writer = await asyncio.open_connection(address, int(port))
        try:
            path = f"/v1beta/models/{model}:{method}"
            writer.write(post(path, body, host=host, headers={"x-goog-api-key": key}))
            await read_head(reader)
            if "stream" in method:
                await reader.readline()
                await reader.readline()
            else:
                await reader.read()
        finally:
            writer.close()
    return time.perf_counter() - began
