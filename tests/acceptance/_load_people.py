"""People who use the site, each with an account and a connection of his own; see deploy_load.py.

A process of its own, so that what it takes can be told from what the site takes. It reads its
facts from standard input, lets the people live and writes what they were told to a file.
"""

from __future__ import annotations

import asyncio
import json
import random
import ssl
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, urlencode

from tests.acceptance._streams_clients import Told, note_events, read_body, request
from tests.acceptance._streams_site import TOKEN

PATIENCE_SECONDS = 120
#: Of a hundred requests so many.
MIX = {"search page": 20, "search API": 20, "ask": 10, "chat": 20, "stream": 25, "chat page": 5}
#: What the cache can answer: questions about results that all ask alike, and questions of the chat
#: that the same person asks again, in another conversation. All else is asked for the first time.
ALIKE, AGAIN = 0.4, 0.35
#: Questions of one conversation.
LONGEST = 4
#: Questions that one person asks again.
OWN = 3
#: Between two changes of the editor.
EDITS_SECONDS = 5


@dataclass
class Call:
    """One request, and what came of it.

    Attributes:
        at: Seconds since the beginning of all.
        first_seconds: Until the first text, of a stream.
        failure: Why it is no good answer, "" if it is.
    """

    kind: str
    at: float
    status: int = 0
    seconds: float = 0.0
    first_seconds: float | None = None
    failure: str = ""


@dataclass
class Turn:
    """A question to the chat and its answer, as they were told; `person` is a number."""

    person: int
    question: str
    kind: str
    conversation: str = ""
    message_id: str = ""
    text: str = ""


@dataclass
class Facts:
    """What the people are told before they begin.

    Attributes:
        port, host, certificate: Where the site is.
        sessions: Keys, one of each person.
        seconds: How long they live.
        alone: Of these, how long the first half of them is alone.
        think: Seconds between an answer and the next request, at least and at most.
        names: Of places, to search for.
        editor: Key of the editor's session.
        edits: Of places: code, and what the admin's form is sent.
    """

    port: int
    host: str
    certificate: str
    sessions: list[str]
    seconds: float
    alone: float
    think: tuple[float, float]
    names: list[str]
    editor: str
    edits: list[tuple[str, dict[str, str]]]
    out: str
    calls: list[Call] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    connections: int = 0


class Connection:
    """Of one person, kept as a browser does."""

    def __init__(self, facts: Facts, session: str, context: ssl.SSLContext) -> None:
        self.facts, self._context = facts, context
        host = f"{facts.host}:{facts.port}"
        self._headers = {
            "Host": host, "Origin": f"https://{host}", "X-CSRFToken": TOKEN,
            "Cookie": f"sessionid={session}; csrftoken={TOKEN}", "Accept-Encoding": "identity",
        }  # fmt: skip
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(
        self, method: str, path: str, data: bytes = b"", *, told: Told | None = None, **more: str
    ) -> tuple[int, bytes]:
        """Return status and body; the body of a good stream goes to `told` instead.

        Args:
            more: Headers, with underscores for hyphens.
        """
        headers = {name.replace("_", "-"): value for name, value in more.items()}
        began = time.perf_counter()
        if self._streams is None:
            self.facts.connections += 1
            self._streams = await asyncio.open_connection(
                "127.0.0.1", self.facts.port, ssl=self._context, server_hostname=self.facts.host
            )
        reader, writer = self._streams
        writer.write(request(method, path, data, {**self._headers, **headers}))
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        first, *lines = head.split("\r\n")
        status = int(first.split(" ", 2)[1])
        found = dict(line.split(": ", 1) for line in lines if line)
        body = b""
        if told is not None and status == 200:
            told.status = status
            await note_events(told, reader, began)
        elif "content-length" in found:
            body = await reader.readexactly(int(found["content-length"]))
        elif found.get("transfer-encoding") == "chunked":
            body = b"".join([part async for part in read_body(reader)])
        if found.get("connection") == "close":
            self.close()
        return status, body

    def close(self) -> None:
        """Let the next request open a new one."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


class Editor:
    """Changes one place after the other in the admin, so that there is something to index."""

    def __init__(self, facts: Facts, context: ssl.SSLContext) -> None:
        self.facts, self.connection = facts, Connection(facts, facts.editor, context)

    async def live(self, began: float) -> None:
        """Go on until the time or the places are over."""
        for number, (code, form) in enumerate(self.facts.edits):
            await asyncio.sleep(EDITS_SECONDS)
            if number and time.perf_counter() > began + self.facts.seconds:
                break
            async with noted(self.facts, "edit", began, self.connection) as call:
                path = f"/admin/communities/community/{code}/change/"
                data = urlencode({**form, "former_names": f"Bagong Pangalan {number}"}).encode()
                call.status, body = await self.connection.send(
                    "POST", path, data, Content_Type="application/x-www-form-urlencoded"
                )
                if call.status != 302:
                    call.failure = f"{call.status} {body[-300:]!r}"
        self.connection.close()


@asynccontextmanager
async def noted(
    facts: Facts, kind: str, began: float, connection: Connection
) -> AsyncIterator[Call]:
    """Note a request, how long it takes, and why it fails."""
    call = Call(kind, time.perf_counter() - began)
    facts.calls.append(call)
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            yield call
    except (OSError, ValueError, EOFError, KeyError, asyncio.LimitOverrunError) as error:
        call.failure = call.failure or repr(error)
    call.seconds = time.perf_counter() - began - call.at
    if call.failure:
        connection.close()


class Person:
    """Asks, reads, thinks, and asks again."""

    def __init__(self, number: int, facts: Facts, context: ssl.SSLContext) -> None:
        self.number, self.facts = number, facts
        self.chance = random.Random(20261200 + number)
        self.connection = Connection(facts, facts.sessions[number], context)
        self.conversation, self.said, self.asked = "", 0, 0
        self._own = [self._question(f"my place {name}") for name in range(OWN)]

    async def warm(self) -> None:
        """Ask before all others, as whoever sets a site up does to see that it works."""
        for kind in ("chat", "stream"):
            async with noted(
                self.facts, f"first {kind}", time.perf_counter(), self.connection
            ) as call:
                await self._ask(call)

    async def live(self, began: float) -> None:
        """Go on until the time is over; the last answer is waited for."""
        is_early = self.number < len(self.facts.sessions) / 2
        # Nobody begins at once with all others.
        pause = self.chance.uniform(0, self.facts.think[1])
        await asyncio.sleep(pause + (0 if is_early else self.facts.alone))
        kinds, weights = list(MIX), list(MIX.values())
        kind = kinds[self.number % len(kinds)]
        while True:
            async with noted(self.facts, kind, began, self.connection) as call:
                await self._do(call)
            await asyncio.sleep(self.chance.uniform(*self.facts.think))
            if time.perf_counter() > began + self.facts.seconds:
                break
            kind = self.chance.choices(kinds, weights)[0]
        self.connection.close()

    async def _do(self, call: Call) -> None:
        name = self.chance.choice(self.facts.names)
        if call.kind in ("chat", "stream"):
            await self._ask(call)
        elif call.kind == "chat page":
            path = f"/chat/{self.conversation}/" if self.conversation else "/chat/"
            await self._expect(call, b"<main", "GET", path)
        elif call.kind == "search page":
            await self._expect(
                call, b'href="/communities/', "GET", f"/search/?q={quote_plus(name)}"
            )
        elif call.kind == "search API":
            body = json.dumps({"query": name, "index": "communities"}).encode()
            json_ = {"Content_Type": "application/json"}
            await self._expect(call, b'"score":', "POST", "/api/search/", body, **json_)
        else:
            await self._ask_about(call, name)

    async def _expect(self, call: Call, part: bytes, *arguments: Any, **headers: str) -> None:
        call.status, body = await self.connection.send(*arguments, **headers)
        if call.status != 200 or part not in body:
            call.failure = f"{call.status} {body[-300:]!r}"

    async def _ask_about(self, call: Call, name: str) -> None:
        """Ask about results of a search: one answer for all who ask the same."""
        question = "Which of them has the most residents?"
        if self.chance.random() < ALIKE:
            name = self.chance.choice(self.facts.names[:10])
        else:
            question = self._question(name)
        form = urlencode({"q": name, "question": question, "province": ""}).encode()
        kind = {"Content_Type": "application/x-www-form-urlencoded"}
        await self._expect(call, b"three provinces", "POST", "/search/ask/", form, **kind)

    async def _ask(self, call: Call) -> None:
        if self.said >= self.chance.randint(1, LONGEST):
            self.conversation, self.said = "", 0
        is_new = not self.conversation
        if is_new and self.chance.random() < AGAIN:
            question = self.chance.choice(self._own)
        else:
            question = self._question(self.chance.choice(self.facts.names))
        turn = Turn(self.number, question, call.kind)
        self.facts.turns.append(turn)
        asked = {"message": question, **({} if is_new else {"conversation": self.conversation})}
        body = json.dumps(asked).encode()
        headers = {"Content_Type": "application/json"}
        if "chat" in call.kind:
            call.status, data = await self.connection.send("POST", "/api/chat/", body, **headers)
            answer = json.loads(data) if call.status == 200 else {"error": data.decode()[:300]}
        else:
            told = Told()
            headers["Accept"] = "text/event-stream"
            call.status, data = await self.connection.send(
                "POST", "/api/chat/stream/", body, told=told, **headers
            )
            call.first_seconds = told.first_seconds
            answer = told.answer or {"error": f"cut after {told.names[-2:]} {data[:300]!r}"}
            if told.answer and not told.is_complete:
                answer["error"] = answer.get("error") or f"not whole: {told.names}"
        if answer.get("error") or answer.get("is_refused"):
            call.failure = f"{call.status} {answer.get('error') or 'refused'}"
            return
        turn.conversation = self.conversation = answer["conversation"]
        turn.message_id, turn.text = answer["message_id"], answer["text"]
        self.said += 1

    def _question(self, name: str) -> str:
        """Return one that nobody has asked before."""
        self.asked += 1
        kind = self.chance.choice(("How many", "Which", "Where"))
        return f"{kind} places are there near {name}? I, {self.number}, ask as my {self.asked}th."


async def live(facts: Facts) -> None:
    """Let all live."""
    context = ssl.create_default_context(cafile=facts.certificate)
    people = [Person(number, facts, context) for number in range(len(facts.sessions))]
    await people[0].warm()
    began = time.perf_counter()
    await asyncio.gather(*(each.live(began) for each in (*people, Editor(facts, context))))


def main() -> None:
    facts = Facts(**json.load(sys.stdin))
    try:
        import uvloop
    except ImportError:
        asyncio.run(live(facts))
    else:
        uvloop.run(live(facts))
    told = {"connections": facts.connections, "calls": [asdict(each) for each in facts.calls]}
    told["turns"] = [asdict(each) for each in facts.turns]
    Path(facts.out).write_text(json.dumps(told), encoding="utf-8")


if __name__ == "__main__":
    main()
