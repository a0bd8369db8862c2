"""A real HTTP server that speaks OpenAI's protocol, and fails on request.

    with run_chat_completions() as server:
        server.script(Reply(status=503), Reply("Yes.", reasoning=40))
        ...  # point the SDK at server.url with any key that does not begin with "bad"
        assert [entry.status for entry in server.journal] == [503, 200]

It serves chat completions (plain, and streamed as server-sent events with usage in a last piece),
embeddings, and the list of models. A text of n characters has n / 4 tokens, rounded up. A refusal
bills nothing; an answer bills everything as soon as it is begun, however it breaks off.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

from tests.servers.gemini.schema import make_value
from tests.servers.gemini.tokens import count_text, cut_text, split_text
from tests.servers.gemini.transport import Line, make_chunk, make_head
from tests.servers.gemini.vectors import embed
from tests.servers.gemini.wire import ApiError

GOOD_KEY = "sk-loopback-0123456789abcdef"
BAD_KEY = "bad-key-0123456789"
MODELS = ("small", "large", "thinker", "embedder", "llama3.2:latest")
Cut = Literal["", "clean", "rst", "fin", "hang", "error", "silent"]


@dataclass(frozen=True)
class Reply:
    """What one request gets.

    Attributes:
        text: What the model writes; None follows from the prompt, or fits its schema.
        finish: finish_reason.
        cached: Cached tokens, part of the prompt.
        reasoning: Hidden tokens, part of completion_tokens.
        usage: Laid over the usage object; None sends no usage at all.
        piece_usage: A usage object that every piece of a stream carries.
        indices: What the vectors say of their places; None tells the truth.
        body: Status 200 with something else than an answer; "error" is `error` beside the usage.
        cut: How the answer breaks off, after `cut_after` pieces of a stream.
    """

    text: str | None = None
    _: KW_ONLY
    finish: str | None = "stop"
    refusal: str = ""
    prompt_tokens: int | None = None
    cached: int = 0
    reasoning: int = 0
    usage: Mapping[str, Any] | None = field(default_factory=dict)
    piece_usage: Mapping[str, Any] | None = None
    indices: tuple[int, ...] | None = None
    model: str = ""
    status: int = 200
    error: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Literal["", "empty", "broken", "html", "error"] = ""
    cut: Cut = ""
    cut_after: int = 1
    delay_seconds: float = 0.0
    drip_bytes: int = 0


@dataclass(kw_only=True)
class Entry:
    """One request: what was asked, answered and billed (prompt, cached, output, reasoning)."""

    path: str
    key: str
    headers: Mapping[str, str]
    body: Any = None
    status: int = 0
    billed: tuple[int, int, int, int] = (0, 0, 0, 0)
    client_left: bool = False
    is_finished: bool = False


class _Refused(Exception):
    def __init__(self, status: int, error: Mapping[str, Any]) -> None:
        self.status = status
        self.error = error


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ChatCompletionsServer

    def log_message(self, *_: Any) -> None:
        return

    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def _handle(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        raw = self.rfile.read(length)
        key = self.headers.get("Authorization", "").removeprefix("Bearer ")
        entry = Entry(
            path=self.path,
            key=key,
            headers={name.lower(): value for name, value in self.headers.items()},
            body=json.loads(raw) if raw else None,
        )
        self.server.entries.append(entry)
        self._line = Line(self.connection, is_over=self.server.is_over)
        try:
            self._answer(entry)
        except _Refused as refused:
            self._send(entry, refused.status, {"error": refused.error})
        finally:
            entry.client_left = self._line.is_lost
            entry.is_finished = True
            self.close_connection = self._line.is_broken or self._line.is_lost

    def _answer(self, entry: Entry) -> None:
        if entry.key.startswith("bad"):
            raise _Refused(401, {"code": "invalid_api_key", "type": "invalid_request_error"})
        if self.path == "/v1/models":
            listed = [{"id": name, "object": "model"} for name in MODELS]
            self._send(entry, 200, {"object": "list", "data": listed})
            return
        reply = self.server.take()
        self._line.drip_bytes, self._line.drip_interval_seconds = reply.drip_bytes, 0.05
        if reply.cut == "silent":
            self._line.hang()
            return
        if not self._line.wait(reply.delay_seconds):
            return
        if reply.status != 200:
            if reply.status == 502:
                self._send(entry, 502, "<html>Bad gateway</html>", reply.headers)
            else:
                self._send(entry, reply.status, {"error": dict(reply.error)}, reply.headers)
            return
        if entry.body["model"].split(":")[0] not in {each.split(":")[0] for each in MODELS}:
            raise _Refused(404, {"code": "model_not_found", "type": "invalid_request_error"})
        if self.path == "/v1/embeddings":
            self._embed(entry, reply)
        else:
            self._complete(entry, reply)

    def _embed(self, entry: Entry, reply: Reply) -> None:
        texts = entry.body["input"]
        size = entry.body.get("dimensions", 32)
        tokens = sum(map(count_text, texts))
        entry.billed = (tokens, 0, 0, 0)
        rows = [
            {
                "object": "embedding",
                "index": number if reply.indices is None else reply.indices[number],
                "embedding": [3 * v for v in embed(text, size)],
            }
            for number, text in enumerate(texts)
        ]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        answer = {
            "object": "list",
            "data": rows[::-1],
            "model": entry.body["model"],
            "usage": usage,
        }
        self._send(entry, 200, answer)

    def _complete(self, entry: Entry, reply: Reply) -> None:
        asked = entry.body
        prompt = sum(count_text(each["content"]) for each in asked["messages"])
        prompt = reply.prompt_tokens or prompt
        limit = asked.get("max_completion_tokens") or asked.get("max_tokens")
        if not limit:
            raise _Refused(400, {"type": "invalid_request_error", "param": "max_tokens"})
        reasoning = min(reply.reasoning, limit)
        whole = _text_of(asked, reply)
        text = cut_text(whole, limit - reasoning)
        finish = "length" if text != whole and reply.finish == "stop" else reply.finish
        output = count_text(text)
        entry.billed = (prompt, reply.cached, output, reasoning)
        usage = {
            "prompt_tokens": prompt,
            "completion_tokens": output + reasoning,
            "total_tokens": prompt + output + reasoning,
            "prompt_tokens_details": {"cached_tokens": reply.cached},
            "completion_tokens_details": {"reasoning_tokens": reasoning},
        }
        if reply.usage is not None:
            usage |= reply.usage
        base = {"id": "chatcmpl-1", "created": 1, "model": reply.model or asked["model"]}
        message = {"role": "assistant", "content": text, "refusal": reply.refusal or None}
        if not asked.get("stream"):
            choice = {"index": 0, "message": message, "finish_reason": finish}
            answer = {**base, "object": "chat.completion", "choices": [choice]}
            if reply.usage is not None:
                answer["usage"] = usage
            if reply.body == "error":
                answer = {**answer, "choices": [], "error": dict(reply.error)}
            self._send(entry, 200, answer, reply=reply)
            return
        deltas = [{"content": piece} for piece in split_text(text, 4)] or [{"content": ""}]
        if reply.refusal:
            deltas = [*(deltas if text else ()), {"refusal": reply.refusal}]
        pieces = [
            {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas
        ]
        if finish:
            pieces.append({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
        if reply.piece_usage is not None:
            pieces = [{**each, "usage": reply.piece_usage} for each in pieces]
        if reply.usage is not None and (asked.get("stream_options") or {}).get("include_usage"):
            pieces.append({"choices": [], "usage": usage})
        self._stream(
            entry, [{**base, "object": "chat.completion.chunk", **each} for each in pieces], reply
        )

    def _stream(self, entry: Entry, pieces: list[dict[str, Any]], reply: Reply) -> None:
        entry.status = 200
        line = self._line
        line.send(make_head(200, "text/event-stream; charset=utf-8", None))
        if reply.body:
            line.send(make_chunk(_BODIES[reply.body]) if _BODIES[reply.body] else b"")
            line.send(make_chunk(b""))
            return
        for number, piece in enumerate(pieces):
            if reply.cut and number == reply.cut_after:
                if reply.cut == "error":
                    error = {"error": dict(reply.error) or {"code": 502, "message": "Provider"}}
                    line.send(make_chunk(f"data: {json.dumps(error)}\n\n".encode()))
                    line.send(make_chunk(b""))
                elif reply.cut == "clean":
                    line.send(make_chunk(b""))
                else:
                    {"rst": line.reset, "fin": line.finish, "hang": line.hang}[reply.cut]()
                return
            if not line.send(make_chunk(f"data: {json.dumps(piece)}\n\n".encode())):
                return
            if not line.check():
                return
        line.send(make_chunk(b"data: [DONE]\n\n"))
        line.send(make_chunk(b""))

    def _send(
        self,
        entry: Entry,
        status: int,
        body: Any,
        headers: Mapping[str, str] | None = None,
        *,
        reply: Reply | None = None,
    ) -> None:
        entry.status = status
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        kind = "text/html" if isinstance(body, str) else "application/json"
        if reply is not None and reply.body in _BODIES:
            data, kind = _BODIES[reply.body], "text/html" if reply.body == "html" else kind
        head = make_head(status, kind, len(data))
        for name, value in (headers or {}).items():
            head = head[:-2] + f"{name}: {value}\r\n\r\n".encode()
        cut = reply.cut if reply is not None else ""
        if not cut:
            self._line.send(head + data)
            return
        self._line.send(head + data[: len(data) // 2])
        {"rst": self._line.reset, "fin": self._line.finish, "hang": self._line.hang}[cut]()


_BODIES = {"empty": b"", "broken": b'{"choices": [', "html": b"<html>Hello</html>"}


def _text_of(asked: Mapping[str, Any], reply: Reply) -> str:
    if reply.text is not None or reply.refusal:
        return reply.text or ""
    wanted = asked.get("response_format")
    if wanted:
        try:
            return json.dumps(make_value(wanted["json_schema"]["schema"]), ensure_ascii=False)
        except ApiError as error:
            raise _Refused(
                400, {"type": "invalid_request_error", "param": "response_format"}
            ) from error
    last = asked["messages"][-1]["content"]
    return f"Answer to {len(asked['messages'])} turns and {len(last)} characters: {last[-20:]}"


class ChatCompletionsServer(ThreadingHTTPServer):
    """The server; `run_chat_completions` starts and stops it."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.entries: list[Entry] = []
        self.is_over = threading.Event()
        self.key = GOOD_KEY
        self._replies: deque[Reply] = deque()
        self._again: Reply | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def script(self, *replies: Reply, is_repeated: bool = False) -> None:
        """Say what the next requests get; further ones are answered plainly."""
        self._replies.extend(replies)
        self._again = replies[-1] if is_repeated else None

    def take(self) -> Reply:
        try:
            return self._replies.popleft()
        except IndexError:
            return self._again or Reply()

    @property
    def journal(self) -> list[Entry]:
        """All requests so far, after a moment for those that are under way."""
        for _ in range(100):
            if all(entry.is_finished for entry in self.entries):
                break
            self.is_over.wait(0.02)
        return list(self.entries)

    def handle_error(self, *_: Any) -> None:
        """A client that left is no failure of the server."""


@contextlib.contextmanager
def run_chat_completions() -> Iterator[ChatCompletionsServer]:
    """Serve in threads of this process, on a free port of the loopback address."""
    server = ChatCompletionsServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.is_over.set()
        server.shutdown()
        thread.join()
        server.server_close()
