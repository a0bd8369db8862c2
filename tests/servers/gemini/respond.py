"""Send one reply: refusals, whole answers, streams, and all that can go wrong with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.servers.gemini import errors, tokens, wire
from tests.servers.gemini.generation import Generation
from tests.servers.gemini.journal import BilledTokens, Record
from tests.servers.gemini.replies import Reply
from tests.servers.gemini.transport import Line, make_chunk, make_head

JSON = "application/json; charset=UTF-8"
EVENTS = "text/event-stream"
HTML = "text/html; charset=UTF-8"
BROKEN = b'{"candidates": [{"content": {"parts": [{"te'


class Responder:
    """Sends the reply to one request and enters into its record what happened.

    Attributes:
        is_integers: Answer with enums as numbers.
        is_sse: Stream as server-sent events rather than as one JSON array.
    """

    def __init__(self, line: Line, record: Record, *, is_integers: bool, is_sse: bool) -> None:
        self.line = line
        self.record = record
        self.is_integers = is_integers
        self.is_sse = is_sse

    def bill(self, reply: Reply, tokens_: BilledTokens) -> None:
        if reply.bills is not False:
            self.record.billed = tokens_

    def encode(self, payload: Any) -> bytes:
        return tokens.compact(wire.with_integers(payload) if self.is_integers else payload).encode()

    def _hold(self, wait: Callable[[], object]) -> None:
        self.record.is_held = True
        wait()
        self.record.is_held = False

    def _wait(self, seconds: float) -> bool:
        self._hold(lambda: self.line.wait(seconds))
        return not self.line.is_lost

    def _send_head(self, status: int, content_type: str, length: int | None) -> bool:
        self.record.status = status
        return self.line.send(make_head(status, content_type, length))

    # --- Before generation ----------------------------------------------------------------

    def refuse(self, reply: Reply, model: str) -> None:
        """Send an error, or none at all, for a request that was not worked on."""
        if not self._wait(reply.delay_seconds):
            return
        if reply.cut == "no_answer":
            self.line.finish()
        elif reply.cut == "silent":
            self._hold(self.line.hang)
        else:
            is_array = self.record.operation == "streamGenerateContent" and not self.is_sse
            body, content_type = errors.error_body(reply, model=model, is_array_stream=is_array)
            self._send_body(reply, body, content_type, status=reply.status)

    # --- Whole answers --------------------------------------------------------------------

    def answer(self, reply: Reply, payload: Any, billed: BilledTokens) -> None:
        """Send a JSON answer. All of it is billed, however much of it arrives."""
        self.bill(reply, billed)
        if isinstance(payload, dict):
            self.record.reported = payload.get("usageMetadata")
        if not self._wait(reply.delay_seconds):
            return
        body, content_type = self.encode(payload), JSON
        if reply.cut == "error":
            body = self.encode(errors.error_object(reply, self.record.model))
        if reply.body:
            body, content_type = _faulty_body(reply, BROKEN)
        self._send_body(reply, body, content_type)

    def _send_body(
        self, reply: Reply, body: bytes, content_type: str, *, status: int = 200
    ) -> None:
        head = make_head(status, content_type, len(body))
        self.record.status = status
        self.record.chunks_sent = 1
        self.line.drip_interval_seconds = reply.drip_interval_seconds
        if reply.cut in ("rst", "fin", "hang"):
            self.line.send(head + body[: len(body) // 2])
            self._break(reply)
            return
        # Before the last byte goes out: whoever has the answer finds it in the journal.
        self.record.is_complete = True
        if reply.drip_bytes:
            self.line.send(head)
            self.line.drip_bytes = reply.drip_bytes
            self._hold(lambda: self.line.send(body))
        else:
            self.line.send(head + body)
        if self.line.is_lost:
            self.record.is_complete = False

    def _break(self, reply: Reply) -> None:
        if reply.cut == "rst":
            self.line.reset()
        elif reply.cut == "fin":
            self.line.finish()
        else:
            self._hold(self.line.hang)

    # --- Streams --------------------------------------------------------------------------

    def stream(self, reply: Reply, generation: Generation) -> None:
        """Send a stream. What is billed is what was generated when the client went away."""
        everything = generation.billed(len(generation.pieces))
        self.bill(reply, everything if reply.bills else generation.before)
        if not self._wait(reply.delay_seconds):
            return
        if reply.body:
            self.bill(reply, everything)
            self._send_faulty_stream(reply)
            return
        if not self._send_head(200, EVENTS if self.is_sse else JSON, None):
            return
        self.line.drip_bytes = reply.drip_bytes
        self.line.drip_interval_seconds = reply.drip_interval_seconds
        if self._send_pieces(reply, generation):
            self._end_stream(reply)

    def _send_pieces(self, reply: Reply, generation: Generation) -> bool:
        """Send the pieces up to the cut, and say whether the client got them."""
        count = len(generation.pieces)
        for number in range(1, (min(count, reply.cut_after) if reply.cut else count) + 1):
            if not self._wait(reply.chunk_interval_seconds if number > 1 else 0.0):
                return False
            if not reply.bills:
                self.bill(reply, generation.billed(number))
            payload = generation.payload(number)
            data = self._frame(self.encode(payload), is_first=number == 1)
            if number == count and not reply.cut:
                data += self._last_bytes()
                self.record.is_complete = True
            self.record.reported = payload.get("usageMetadata", self.record.reported)
            self.record.chunks_sent = number
            if not self._drop(data, is_held=bool(reply.drip_bytes)):
                self.record.is_complete = False
                return False
        return True

    def _drop(self, data: bytes, *, is_held: bool) -> bool:
        self.record.is_held = is_held
        is_sent = self.line.send(data)
        self.record.is_held = False
        return is_sent

    def _frame(self, data: bytes, *, is_first: bool) -> bytes:
        if self.is_sse:
            return make_chunk(b"data: " + data + b"\r\n\r\n")
        return make_chunk((b"[" if is_first else b",\r\n") + data)

    def _last_bytes(self, *, is_empty: bool = False) -> bytes:
        if self.is_sse:
            return make_chunk(b"")
        return make_chunk(b"[]" if is_empty else b"]") + make_chunk(b"")

    def _end_stream(self, reply: Reply) -> None:
        sent = self.record.chunks_sent
        if reply.cut == "clean":
            self.line.send(self._last_bytes(is_empty=not sent))
        elif reply.cut == "error":
            body = self.encode(errors.error_object(reply, self.record.model))
            if reply.error_shape == "bare" and self.is_sse:
                data = make_chunk(body + b"\r\n")
            else:
                data = self._frame(body, is_first=not sent)
            self.line.send(data + self._last_bytes())
        elif reply.cut:
            self._break(reply)

    def _send_faulty_stream(self, reply: Reply) -> None:
        if reply.body == "html":
            body, content_type = _faulty_body(reply, b"")
        else:
            content_type = EVENTS if self.is_sse else JSON
            broken = b"data: " + BROKEN + b"\r\n\r\n" if self.is_sse else b"[" + BROKEN
            empty = b"" if self.is_sse else b"[]"
            body = broken if reply.body == "broken" else empty
        if self._send_head(200, content_type, None):
            self.line.send((make_chunk(body) if body else b"") + make_chunk(b""))
            self.record.is_complete = not self.line.is_lost


def _faulty_body(reply: Reply, broken: bytes) -> tuple[bytes, str]:
    if reply.body == "html":
        return errors.html_page(200), HTML
    return (broken if reply.body == "broken" else b""), JSON
