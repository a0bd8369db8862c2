"""Clients of a site behind a proxy, over TLS, on the standard library alone."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

PATIENCE_SECONDS = 90


@dataclass
class Answer:
    """What came back; `headers` in order, names in lower case."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    #: Seconds from the request to each piece of the body.
    pieces: list[float] = field(default_factory=list)

    def all(self, name: str) -> list[str]:
        """Return every header of that name."""
        return [value for key, value in self.headers if key == name]

    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """Asks one proxy, whose certificate it knows."""

    def __init__(self, port: int, certificate: Path | None) -> None:
        self.port = port
        self.context = None
        if certificate:
            self.context = ssl.create_default_context(cafile=str(certificate))

    def connect(self) -> http.client.HTTPConnection:
        if self.context is None:
            return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        return http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=PATIENCE_SECONDS, context=self.context
        )

    def ask(
        self,
        path: str,
        body: bytes | None = None,
        *,
        connection: http.client.HTTPConnection | None = None,
        **headers: str,
    ) -> Answer:
        """Make a request: GET, or POST with a body. Underscores in header names are hyphens."""
        own = connection or self.connect()
        began = time.perf_counter()
        try:
            given = {name.replace("_", "-"): value for name, value in headers.items()}
            own.request("GET" if body is None else "POST", path, body, given)
            response = own.getresponse()
            parts, pieces = [], []
            while part := response.read1(65_536):
                parts.append(part)
                pieces.append(time.perf_counter() - began)
            found = [(name.lower(), value) for name, value in response.getheaders()]
            return Answer(response.status, found, b"".join(parts), pieces)
        finally:
            if connection is None:
                own.close()

    def stream(self, message: str) -> Answer:
        """Ask the chat, told piece by piece."""
        body = json.dumps({"message": message}).encode()
        return self.ask(
            "/api/chat/stream/", body, Content_Type="application/json", Accept="text/event-stream"
        )


def events(answer: Answer) -> list[str]:
    """Return the names of the events of a stream."""
    return [
        line.removeprefix("event: ")
        for line in answer.body.decode().splitlines()
        if line.startswith("event: ")
    ]


def is_whole(answer: Answer) -> bool:
    """Was a stream told to its end, without an error?"""
    names = events(answer)
    return answer.status == 200 and names[:1] == ["conversation"] and names[-1:] == ["answer"]


class Crowd:
    """Asks without a pause until it is told to stop, and notes what failed.

    Attributes:
        done: Good answers, by what was asked.
        failed: What was not a good answer.
        repeated: Requests that met an idle connection which the proxy was closing.
        releases: By which release answers were given.
    """

    KINDS = ("page", "seen", "slow", "post", "chat page", "chat slow", "stream")

    def __init__(self, client: Client, *, each: int = 1) -> None:
        self.client = client
        self.done: Counter[str] = Counter()
        self.releases: Counter[str] = Counter()
        self.failed: list[str] = []
        self.repeated = 0
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._run, args=(kind, number), daemon=True)
            for kind in self.KINDS
            for number in range(each)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE_SECONDS)

    def _run(self, kind: str, number: int) -> None:
        connection, count, is_used = self.client.connect(), 0, False
        while not self._over.is_set():
            count += 1
            try:
                answer = self._ask(kind, f"{number}-{count}", connection)
                is_used = kind != "stream"
                good = is_whole(answer) if kind == "stream" else answer.status == 200
                why = f"{answer.status} {answer.body[-300:]!r}"
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                connection = self.client.connect()
                # A connection that has served before may be closed while it is idle.
                if is_used and isinstance(error, ConnectionError):
                    self.repeated, is_used = self.repeated + 1, False
                    continue
                good, why = False, repr(error)
            with self._lock:
                if good:
                    self.done[kind] += 1
                    if b'"release"' in answer.body:
                        self.releases[answer.json()["release"]] += 1
                else:
                    self.failed.append(f"{kind}: {why}")
        connection.close()

    def _ask(self, kind: str, key: str, connection: http.client.HTTPConnection) -> Answer:
        ask = self.client.ask
        if kind == "stream":
            return self.client.stream(f"How many provinces are there? I ask as number {key}.")
        if kind == "post":
            return ask("/trial/slow/?seconds=0.1", b"x" * 2000, connection=connection)
        path = {
            "page": "/", "seen": "/trial/seen/", "slow": "/trial/slow/?seconds=1.5",
            "chat page": "/chat/", "chat slow": "/chat/trial/slow/?seconds=1.5",
        }[kind]  # fmt: skip
        return ask(path, connection=connection)
