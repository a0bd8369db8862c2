"""What the server was asked, what it answered and what it billed."""

from __future__ import annotations

import hashlib
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

#: How long a reader of the journal waits for requests that are being answered.
SETTLE_SECONDS = 5.0
#: … and for those whose answer is held back on purpose.
SETTLE_HELD_SECONDS = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class BilledTokens:
    """Tokens that the service charges for.

    Attributes:
        prompt: Input, cached tokens included.
        cached: The part of `prompt` charged at the price of cached tokens.
        candidates: Output without thinking.
        thoughts: Thinking, charged as output.
        tool: Prompt tokens of tool results, charged as input and not part of `prompt`.
    """

    prompt: int = 0
    cached: int = 0
    candidates: int = 0
    thoughts: int = 0
    tool: int = 0

    def __add__(self, other: BilledTokens) -> BilledTokens:
        return BilledTokens(
            prompt=self.prompt + other.prompt,
            cached=self.cached + other.cached,
            candidates=self.candidates + other.candidates,
            thoughts=self.thoughts + other.thoughts,
            tool=self.tool + other.tool,
        )

    def __bool__(self) -> bool:
        return self.total > 0

    @property
    def total(self) -> int:
        return self.prompt + self.candidates + self.thoughts + self.tool


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalEntry:
    """One request.

    Attributes:
        number: 1 for the first since the start or the last reset, in order of arrival.
        received_at: Aware, UTC.
        started: The same on a clock that nobody sets, `time.monotonic()` of the server's machine.
        path: With its query; a key in it is replaced.
        operation: generateContent, streamGenerateContent, countTokens, embedContent,
            batchEmbedContents, models.list, models.get, or "" for anything else.
        model: As asked for, without "models/".
        model_version: The model that answered, or "".
        key_id: See `key_id()`; "" without a key.
        headers: Names in lower case, without keys.
        body: Parsed JSON, or None.
        reply: Name of the reply that was chosen.
        status: HTTP status sent, 0 if none was.
        billed: Exactly what this request costs.
        reported: usageMetadata as last sent, or None.
        chunks_sent: Pieces of a stream that were sent whole; 1 for other answers.
        is_complete: Was everything sent that the reply wanted to send?
        client_left: Did the client close the connection first?
        is_finished: False while the request is being answered.
        seconds: How long that took.
    """

    number: int
    received_at: datetime
    started: float
    method: str
    path: str
    api_version: str
    operation: str
    model: str
    model_version: str
    key_id: str
    headers: Mapping[str, str]
    body: Any
    reply: str
    status: int
    billed: BilledTokens
    reported: Mapping[str, Any] | None
    chunks_sent: int
    is_complete: bool
    client_left: bool
    is_finished: bool
    seconds: float

    @property
    def is_billed(self) -> bool:
        return bool(self.billed)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "received_at": self.received_at.isoformat()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> JournalEntry:
        return cls(
            **{
                **value,
                "received_at": datetime.fromisoformat(value["received_at"]),
                "billed": BilledTokens(**value["billed"]),
            }
        )


def key_id(key: str) -> str:
    """Name a key without telling it: 12 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(key.encode()).hexdigest()[:12] if key else ""


def sum_billed(entries: Iterable[JournalEntry]) -> dict[str, BilledTokens]:
    """Return the tokens charged, by the model that answered. Models that cost 0 are left out."""
    found: dict[str, BilledTokens] = {}
    for entry in entries:
        if entry.billed:
            found[entry.model_version] = (
                found.get(entry.model_version, BilledTokens()) + entry.billed
            )
    return found


@dataclass(slots=True, kw_only=True)
class Record:
    """A request that is being answered. The handler's thread writes, readers copy."""

    number: int
    method: str
    path: str
    headers: dict[str, str]
    key_id: str
    api_version: str = ""
    operation: str = ""
    model: str = ""
    model_version: str = ""
    body: Any = None
    reply: str = ""
    status: int = 0
    billed: BilledTokens = field(default_factory=BilledTokens)
    reported: Mapping[str, Any] | None = None
    chunks_sent: int = 0
    is_complete: bool = False
    client_left: bool = False
    is_finished: bool = False
    is_held: bool = False
    received_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    started: float = field(default_factory=time.monotonic)
    seconds: float = 0.0

    def slim(self) -> None:
        """Forget headers, history and schema; equal system instructions are kept once."""
        self.headers = {}
        if isinstance(self.body, dict) and self.body.get("contents"):
            parts = (self.body.get("systemInstruction") or {}).get("parts", ())
            kept = [{"text": sys.intern(str(part.get("text", "")))} for part in parts]
            last = self.body["contents"][-1:]
            self.body = {"systemInstruction": {"parts": kept}, "contents": last}

    def to_entry(self) -> JournalEntry:
        names = JournalEntry.__dataclass_fields__
        return JournalEntry(**{name: getattr(self, name) for name in names})


class Journal:
    """All requests since the last reset."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._records: list[Record] = []

    def begin(self, *, method: str, path: str, headers: dict[str, str], key: str) -> Record:
        with self._changed:
            number = len(self._records) + 1
            record = Record(
                number=number, method=method, path=path, headers=headers, key_id=key_id(key)
            )
            self._records.append(record)
        return record

    def finish(self, record: Record) -> None:
        with self._changed:
            record.seconds = time.monotonic() - record.started
            record.is_finished = True
            self._changed.notify_all()

    def clear(self) -> None:
        """Forget everything; requests under way are finished unseen."""
        with self._changed:
            self._records = []

    def read(self) -> list[JournalEntry]:
        """Return all entries, oldest first, after a moment for those that are under way."""
        self._wait(SETTLE_SECONDS, lambda record: record.is_finished or record.is_held)
        self._wait(SETTLE_HELD_SECONDS, lambda record: record.is_finished)
        return self.peek()

    def peek(self) -> list[JournalEntry]:
        """Return all entries as they are now."""
        with self._changed:
            return [record.to_entry() for record in self._records]

    def _wait(self, seconds: float, is_settled: Callable[[Record], bool]) -> None:
        end = time.monotonic() + seconds
        with self._changed:
            while not all(is_settled(record) for record in self._records):
                # is_held changes without a notification: look again now and then.
                self._changed.wait(0.02)
                if time.monotonic() >= end:
                    return
