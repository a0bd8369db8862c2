"""Which reply a request gets."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.servers.gemini.replies import Reply

GROUPS = {
    "generate": ("generateContent", "streamGenerateContent"),
    "embed": ("embedContent", "batchEmbedContents"),
    "models": ("models.list", "models.get"),
}
OPERATIONS = {"countTokens", *(name for names in GROUPS.values() for name in names)}


@dataclass(slots=True, kw_only=True)
class Rule:
    """Replies for the requests that fit, in the order they arrive.

    Attributes:
        operation: An operation of the journal, or "generate", "embed", "models", "any".
        model: Only requests for this model, without "models/"; "" fits every model.
        marker: Only requests with this text somewhere in their JSON; "" fits all.
        also: The same, for a second text.
        is_repeated: Does the last reply serve all further requests?
    """

    replies: list[Reply]
    operation: str = "generate"
    model: str = ""
    marker: str = ""
    also: str = ""
    is_repeated: bool = False
    served: int = field(default=0, compare=False)

    def __post_init__(self) -> None:
        if self.operation not in {"any", *GROUPS, *OPERATIONS}:
            raise ValueError(f"{self.operation!r} is no operation")

    def fits(self, *, operation: str, model: str, text: str) -> bool:
        wanted = GROUPS.get(self.operation, (self.operation,))
        return (
            (self.operation == "any" or operation in wanted)
            and self.model in ("", model)
            and self.marker in text
            and self.also in text
        )

    def take(self) -> Reply | None:
        if self.served < len(self.replies):
            self.served += 1
            return self.replies[self.served - 1]
        return self.replies[-1] if self.is_repeated and self.replies else None

    def to_json(self) -> dict[str, Any]:
        return {
            "replies": [reply.to_json() for reply in self.replies],
            "operation": self.operation,
            "model": self.model,
            "marker": self.marker,
            "also": self.also,
            "is_repeated": self.is_repeated,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Rule:
        return cls(**{**value, "replies": [Reply.from_json(reply) for reply in value["replies"]]})


class Script:
    """The rules. Those with a marker or a model are asked first, then the others, in order."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[Rule] = []

    def add(self, rules: Iterable[Rule]) -> None:
        with self._lock:
            self._rules += rules
            self._rules.sort(key=lambda rule: (not rule.marker, not rule.model))

    def clear(self) -> None:
        with self._lock:
            self._rules = []

    def choose(self, *, operation: str, model: str, text: str) -> Reply:
        """Return the reply for a request; a plain answer if no rule has one left."""
        with self._lock:
            for rule in self._rules:
                if rule.fits(operation=operation, model=model, text=text):
                    reply = rule.take()
                    if reply is not None:
                        return reply
        return Reply()

    @property
    def left(self) -> int:
        """Number of replies that no request has taken yet."""
        with self._lock:
            return sum(len(rule.replies) - rule.served for rule in self._rules)
