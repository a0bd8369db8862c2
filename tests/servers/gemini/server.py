"""The server: its threads, its state, and how tests hold it."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import traceback
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from typing import Any

from tests.servers.gemini.catalogue import Model, standard_models
from tests.servers.gemini.handler import Handler
from tests.servers.gemini.journal import BilledTokens, Journal, JournalEntry, sum_billed
from tests.servers.gemini.replies import Reply
from tests.servers.gemini.script import Rule, Script

#: A key that the server accepts; any other that does not begin with BAD_KEY does as well.
GOOD_KEY = "loopback-key"
BAD_KEY = "bad-key"
JOIN_SECONDS = 10


class State:
    """What tests change: script, journal and models."""

    def __init__(self) -> None:
        self.journal = Journal()
        self.script = Script()
        self.models: dict[str, Model] = standard_models()
        self.is_slim = False
        self.is_over = threading.Event()

    def accepts(self, key: str) -> bool:
        return not key.startswith(BAD_KEY)

    def load(self, value: Mapping[str, Any]) -> None:
        """Add models and rules in the form of a script file; see `GeminiServer.load()`."""
        rules = [Rule.from_json(rule) for rule in value.get("rules", ())]
        names = value.get("models", ())
        self.models = {**self.models, **{name: Model(name=name) for name in names}}
        self.is_slim = value.get("is_slim", self.is_slim)
        self.script.add(rules)

    def reset(self) -> None:
        """Forget script, journal and added models, and let go of every client that waits."""
        over, self.is_over = self.is_over, threading.Event()
        over.set()
        self.script.clear()
        self.journal.clear()
        self.models = standard_models()
        self.is_slim = False


class HTTPServer(ThreadingHTTPServer):
    """One thread per connection, all of them ended and joined by stop()."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.state = State()
        self.failures: list[str] = []
        self._lock = threading.Lock()
        self._connections: dict[threading.Thread, socket.socket] = {}
        _live.add(self)
        _watch_forks()

    def server_bind(self) -> None:
        # HTTPServer's own looks up the host's name, which may ask the network.
        socket.socket.setsockopt(self.socket, socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "127.0.0.1", self.server_address[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def process_request(self, request: Any, client_address: Any) -> None:
        thread = threading.Thread(
            target=self.process_request_thread,
            args=(request, client_address),
            name="gemini-connection",
            daemon=True,
        )
        with self._lock:
            self._connections[thread] = request
        thread.start()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._connections.pop(threading.current_thread(), None)

    def shutdown_request(self, request: Any) -> None:
        try:
            is_reset = request.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)[:4] != bytes(4)
        except OSError:
            is_reset = True
        if is_reset:  # a FIN now would take the place of the reset
            self.close_request(request)
        else:
            super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep what went wrong in the server itself; a client that left is no failure."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            self.failures.append(traceback.format_exc())

    def stop(self) -> None:
        """End every connection and thread. serve_forever() must have been left before."""
        self.state.is_over.set()
        with self._lock:
            open_ = dict(self._connections)
        for request in open_.values():
            with contextlib.suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)
        for thread in open_:
            thread.join(JOIN_SECONDS)
        self.server_close()
        _live.discard(self)

    def forget(self) -> None:
        """In a forked child: give back the sockets, which are the parent's."""
        for sock in (self.socket, *self._connections.values()):
            with contextlib.suppress(OSError):
                os.close(sock.detach())


_live: weakref.WeakSet[HTTPServer] = weakref.WeakSet()
_is_watching = False


def _watch_forks() -> None:
    global _is_watching
    if not _is_watching:
        _is_watching = True
        os.register_at_fork(after_in_child=_forget_all)


def _forget_all() -> None:
    for server in list(_live):
        server.forget()


class GeminiServer:
    """What tests hold: where the server is, its script and its journal."""

    def __init__(self, http: HTTPServer) -> None:
        self._http = http
        self.url = http.url
        self.key = GOOD_KEY

    @property
    def port(self) -> int:
        return self._http.server_port

    def script(
        self,
        *replies: Reply,
        operation: str = "generate",
        model: str = "",
        marker: str = "",
        also: str = "",
        is_repeated: bool = False,
    ) -> None:
        """Give these replies to the next requests that fit; see `script.Rule`.

        Requests that no rule has a reply for get a plain answer.
        """
        rule = Rule(
            replies=list(replies),
            operation=operation,
            model=model,
            marker=marker,
            also=also,
            is_repeated=is_repeated,
        )
        self._http.state.script.add([rule])

    def load(self, value: Mapping[str, Any]) -> None:
        """Add a script in its JSON form: ``{"models": ["name"], "rules": [{"replies": …}]}``.

        With ``"is_slim": true`` the journal keeps of each request what it asked last and its
        system instruction alone, so that it can hold a long load.
        """
        self._http.state.load(value)

    def add_model(self, name: str) -> None:
        """Know one more chat model, until the next reset."""
        self._http.state.load({"models": [name]})

    @property
    def replies_left(self) -> int:
        """Scripted replies that no request has taken."""
        return self._http.state.script.left

    @property
    def journal(self) -> list[JournalEntry]:
        """All requests, oldest first. Waits a moment for those that are being answered."""
        return self._http.state.journal.read()

    def peek(self) -> list[JournalEntry]:
        """The journal as it is now, without waiting."""
        return self._http.state.journal.peek()

    def is_answering(self) -> bool:
        """Whether a request has taken its reply; before that, the next one would be given it."""
        return any(entry.reply for entry in self.peek())

    def billed(self) -> dict[str, BilledTokens]:
        """Tokens charged so far, by the model that answered."""
        return sum_billed(self.journal)

    def reset(self) -> None:
        """Start afresh: no script, an empty journal; clients left waiting are let go."""
        self._http.state.reset()

    def check(self) -> None:
        """Raise AssertionError if the server itself has failed."""
        assert not self._http.failures, "\n".join(self._http.failures)


@contextmanager
def run_gemini(
    *replies: Reply, port: int = 0, models: Iterable[str] = ()
) -> Iterator[GeminiServer]:
    """Run a server in a thread of this process.

    Args:
        replies: The beginning of its script.
        port: 0 takes a free one.
        models: Chat models it knows besides the usual ones.
    """
    http = HTTPServer(port)
    thread = threading.Thread(
        target=http.serve_forever, kwargs={"poll_interval": 0.01}, name="gemini", daemon=True
    )
    thread.start()
    server = GeminiServer(http)
    for name in models:
        server.add_model(name)
    if replies:
        server.script(*replies)
    try:
        yield server
    finally:
        http.shutdown()
        thread.join(JOIN_SECONDS)
        http.stop()
    server.check()


@contextmanager
def closed_port() -> Iterator[str]:
    """A URL whose port refuses connections for as long as the context is open."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # taken, so that nobody else gets it, and not listening
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"
