"""A plain HTTP client of the server, for tests that need no SDK."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import urlsplit

MODEL = "gemini-2.5-flash"
PROMPT = "Where is the coast?"  # 19 characters, 5 tokens
BODY: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": PROMPT}]}]}


class Client:
    """One connection that is kept, as an SDK keeps it."""

    def __init__(self, url: str, *, key: str, timeout: float) -> None:
        self.http = http.client.HTTPConnection(urlsplit(url).netloc, timeout=timeout)
        self.headers = {"x-goog-api-key": key, "content-type": "application/json"}

    def open(self, method: str, path: str, body: Any = None) -> http.client.HTTPResponse:
        data = body if isinstance(body, (bytes, type(None))) else json.dumps(body)
        self.http.request(method, path, data, self.headers)
        return self.http.getresponse()

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        response = self.open(method, path, body)
        return response.status, json.loads(response.read())

    def generate(self, body: Any = BODY, model: str = MODEL, query: str = "") -> tuple[int, Any]:
        return self.call("POST", f"/v1beta/models/{model}:generateContent{query}", body)

    def answer(self, **config: Any) -> Any:
        """The answer to the usual prompt with a generationConfig."""
        status, answer = self.generate({**BODY, "generationConfig": config})
        assert status == 200, answer
        return answer

    def open_stream(self, *, sse: bool = True) -> http.client.HTTPResponse:
        query = "?alt=sse" if sse else ""
        return self.open("POST", f"/v1beta/models/{MODEL}:streamGenerateContent{query}", BODY)

    def stream(self) -> list[Any]:
        return read_events(self.open_stream().read())


def read_events(data: bytes) -> list[Any]:
    """The chunks in a body of server-sent events."""
    events = data.decode().split("\r\n\r\n")
    return [json.loads(event.removeprefix("data: ")) for event in events if event]


def text_of(answer: Any) -> str:
    """The text of an answer or of a chunk."""
    parts = answer["candidates"][0].get("content", {}).get("parts", ())
    return "".join(part.get("text", "") for part in parts)


@contextmanager
def connect(url: str, *, key: str = "loopback-key", timeout: float = 10) -> Iterator[Client]:
    """A client that is closed in the end."""
    client = Client(url, key=key, timeout=timeout)
    with closing(client.http):
        yield client
