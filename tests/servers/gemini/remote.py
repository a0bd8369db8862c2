"""The server in a process of its own, and a hold on one that runs elsewhere."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.servers.gemini.journal import BilledTokens, JournalEntry, sum_billed
from tests.servers.gemini.replies import Reply
from tests.servers.gemini.script import Rule
from tests.servers.gemini.server import GOOD_KEY

ROOT = Path(__file__).resolve().parents[3]
TIMEOUT_SECONDS = 30


class RemoteGemini:
    """A server of any process, by its URL: journal and script as with `GeminiServer`."""

    def __init__(self, url: str, *, pid: int | None = None) -> None:
        self.url = url
        self.pid = pid
        self.key = GOOD_KEY

    def _call(self, method: str, path: str, value: Any = None) -> Any:
        place = urlsplit(self.url).netloc
        with closing(http.client.HTTPConnection(place, timeout=TIMEOUT_SECONDS)) as connection:
            connection.request(method, path, json.dumps(value) if value is not None else None)
            response = connection.getresponse()
            body = response.read()
        if response.status != 200:
            raise ValueError(f"{path}: {response.status} {body.decode()}")
        return json.loads(body)

    @property
    def journal(self) -> list[JournalEntry]:
        return [JournalEntry.from_json(entry) for entry in self._call("GET", "/_journal")]

    def billed(self) -> dict[str, BilledTokens]:
        return sum_billed(self.journal)

    def script(
        self,
        *replies: Reply,
        operation: str = "generate",
        model: str = "",
        marker: str = "",
        also: str = "",
        is_repeated: bool = False,
    ) -> None:
        """See GeminiServer.script()."""
        rule = Rule(
            replies=list(replies),
            operation=operation,
            model=model,
            marker=marker,
            also=also,
            is_repeated=is_repeated,
        )
        self.load({"rules": [rule.to_json()]})

    def load(self, value: Mapping[str, Any]) -> None:
        self._call("POST", "/_script", value)

    def add_model(self, name: str) -> None:
        self.load({"models": [name]})

    def reset(self) -> None:
        self._call("POST", "/_reset", {})


@contextmanager
def run_gemini_process(
    *replies: Reply, port: int = 0, models: Iterable[str] = ()
) -> Iterator[RemoteGemini]:
    """Run a server in a process of its own. It ends with the context or with this process."""
    command = [sys.executable, "-m", "tests.servers.gemini", "--port", str(port), "--until-eof"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            server = RemoteGemini(process.stdout.readline().strip(), pid=process.pid)
            server.load({"models": list(models)})
            if replies:
                server.script(*replies)
            yield server
        finally:
            process.stdin.close()
            try:
                process.wait(TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
    assert process.returncode == 0, "the server failed; its own output says why"
