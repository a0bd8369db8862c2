"""What carries the requests of google-generativeai: the JSON that it sends and receives."""

from __future__ import annotations

import codecs
import functools
import json
import socket
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any

from django_obc_ai.backends.providers import _gemini as gemini
from django_obc_ai.backends.providers._network import Deadline
from django_obc_ai.backends.providers._sockets import make_adapter

_READ_BYTES = 65_536
_DECODER = json.JSONDecoder()
_current: ContextVar[Call] = ContextVar("django_obc_ai_gemini_call")


class Call:
    """One call of the SDK: what is added to its request, and the JSON of its answer.

    Attributes:
        deadline: For the whole call; it begins where the call is made.
        unknown: Fields of ``generationConfig`` that the SDK does not know.
        answer: The answer's JSON, once it is there; {} for a stream.
    """

    def __init__(self, seconds: float, unknown: Mapping[str, Any] | None = None) -> None:
        """Nothing is sent yet, and no clock runs."""
        self._seconds = seconds
        self.unknown = dict(unknown or {})
        self.answer: dict[str, Any] = {}
        self._pieces: deque[Any] = deque()
        self._buffer = ""
        self._response: _Response | None = None

    @contextmanager
    def made(self) -> Iterator[None]:
        """Let the request that is sent inside be this call's."""
        self.deadline = Deadline(self._seconds)
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    def feed(self, text: str) -> None:
        """Take the next characters of a stream, which is a JSON array of pieces."""
        self._buffer += text
        while True:
            self._buffer = self._buffer.lstrip(" \r\n\t[,")
            if not self._buffer.startswith("{"):
                return
            try:
                piece, end = _DECODER.raw_decode(self._buffer)
            except ValueError:  # not all of it has come yet
                return
            self._pieces.append(piece)
            self._buffer = self._buffer[end:]

    def take_piece(self) -> dict[str, Any]:
        """Return the next piece of a stream; raise the error that stands in its place."""
        piece: dict[str, Any] = self._pieces.popleft()
        error = piece.get("error")
        if isinstance(error, Mapping):
            raise gemini.error_of(int(error.get("code") or 0), piece)
        return piece

    def attach(self, response: _Response) -> None:
        """Note the response of a stream, for `close`."""
        self._response = response

    def close(self) -> None:
        """Close the connection of a stream that is not read to its end."""
        if self._response is not None:
            self._response.close()


class Wire:
    """Sends the requests of the SDK's REST transport, in place of its own session.

    That session sends a refused request two more times (401), has no total deadline, and
    leaves the reading of errors to code that cannot read those of a stream.
    """

    def __init__(self, requests: Any, key: str, timeout_seconds: float) -> None:
        """Open a session; nothing is connected yet.

        Args:
            requests: The module of this name, which the SDK brings.
            key: The API key.
            timeout_seconds: For connecting and for each wait for data.
        """
        self._session = requests.Session()
        self._session.headers["x-goog-api-key"] = key
        for prefix in ("http://", "https://"):
            self._session.mount(prefix, make_adapter(requests, _guarding))
        self._timeout = timeout_seconds

    def replace(self, transport: Any) -> None:
        """Take the place of a transport's session, which its methods hold already."""
        for verb in ("get", "post"):
            setattr(transport._session, verb, functools.partial(self._send, verb))

    def close(self) -> None:
        """Close all idle connections."""
        self._session.close()

    def _send(
        self,
        verb: str,
        url: str,
        *,
        headers: Mapping[str, str],
        params: Any,
        timeout: float | None,
        data: str | None = None,
        stream: bool = False,
    ) -> _Response:
        call = _current.get()
        call.deadline.check()
        wait = min(self._timeout, call.deadline.remaining_seconds)
        try:
            found = self._session.request(
                verb.upper(),
                url,
                headers=dict(headers),
                # Without "$alt" the names of enums come, not the numbers that the SDK knows.
                params=[(name, value) for name, value in params if name != "$alt"],
                data=_completed(data, call.unknown),
                timeout=(wait, wait),
                stream=True,
                allow_redirects=False,  # the key is for this host
            )
        except Exception:
            call.deadline.check()  # the error is only how a cut connection shows
            raise
        response = _Response(found, call, wait)
        if found.status_code != 200:
            raise gemini.error_of(found.status_code, response.read_json())
        if stream:
            call.attach(response)
            return response
        answer = response.read_json()
        if not isinstance(answer, dict):
            raise gemini.unreadable()
        call.answer = answer
        return response


def _guarding(sock: socket.socket | None) -> AbstractContextManager[None]:
    """Cut the connection if its headers are not there by the deadline of the current call."""
    return _current.get().deadline.guarding(sock, None)


def _completed(data: str | None, unknown: Mapping[str, Any]) -> bytes | None:
    """Add to a request what the SDK has no name for."""
    if not unknown or data is None:
        return None if data is None else data.encode()
    body = json.loads(data)
    request = body.get("generateContentRequest", body)
    request.setdefault("generationConfig", {}).update(unknown)
    return json.dumps(body).encode()


class _Response:
    """As much of a response as the SDK asks for, read under the call's deadline."""

    def __init__(self, response: Any, call: Call, wait: float) -> None:
        self.status_code: int = response.status_code
        self.headers = response.headers
        self.content = b""
        self._raw = response.raw
        self._close = response.close
        self._call = call
        self._wait = wait

    def close(self) -> None:
        self._close()

    def read_json(self) -> Any:
        """Read the whole body; None if it is no JSON."""
        try:
            self.content = b"".join(self._read())
        finally:
            self.close()
        try:
            return json.loads(self.content)
        except ValueError:
            return None

    def iter_content(self, *_: Any, **__: Any) -> Iterator[str]:
        """Yield what has come of a stream, as text, and show it to the call."""
        decoder = codecs.getincrementaldecoder("utf-8")()
        for data in self._read():
            text = decoder.decode(data)
            if text:
                self._call.feed(text)
                yield text

    def _read(self) -> Iterator[bytes]:
        sock = _socket_of(self._raw)
        while True:
            with self._call.deadline.guarding(sock, self._wait):
                data = self._raw.read1(_READ_BYTES, decode_content=True)
            if not data:
                return
            yield data


def _socket_of(raw: Any) -> socket.socket | None:
    """Return the socket under a response of urllib3; None if it is not where it was."""
    held = getattr(getattr(raw, "connection", None), "sock", None)
    if held is None:
        buffered = getattr(getattr(raw, "_fp", None), "fp", None)
        held = getattr(getattr(buffered, "raw", None), "_sock", None)
    return held if isinstance(held, socket.socket) else None
