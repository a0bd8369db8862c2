"""Stands in for a vendor's SDK: its own client, its own answers, its own errors.

The parrot repeats the first sentence of what it was told. It charges for it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

MODELS = ("parrot-1", "parrot-2")


class ParrotError(Exception):
    """The vendor's error; like many, its message quotes the prompt."""

    def __init__(self, status: int, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


@dataclass
class ParrotReply:
    """The vendor's answer, with its own names for everything."""

    words: list[str]
    ended_because: str
    tokens_in: int
    tokens_out: int
    model: str


class Client:
    """The vendor's client."""

    def __init__(self, api_key: str) -> None:
        self._api_key = api_key

    def say(
        self,
        prompt: str,
        *,
        model: str,
        limit: int,
        voice: str = "plain",
        schema: Mapping[str, Any] | None = None,
    ) -> ParrotReply:
        """Answer at once."""
        if self._api_key == "expired":
            raise ParrotError(401, f"key expired, prompt was {prompt!r}")
        if self._api_key == "busy":
            raise ParrotError(429, f"too busy for {prompt!r}", retry_after=2.0)
        if self._api_key == "down":
            raise ParrotError(503, f"cannot say {prompt!r}")
        if model not in MODELS:
            raise ParrotError(404, f"no model {model!r} for {prompt!r}")
        if limit < 1 or not prompt.strip():
            raise ParrotError(400, f"cannot say {prompt!r}")
        text = _sentence(prompt) if schema is None else json.dumps(_fill(schema, prompt))
        words = re.findall(r"\S+\s*", text.upper() if voice == "loud" else text)
        return ParrotReply(
            words=words[:limit],
            ended_because="limit" if len(words) > limit else "done",
            tokens_in=count(prompt),
            tokens_out=min(len(words), limit),
            model=model,
        )

    def say_slowly(self, prompt: str, **options: Any) -> Iterator[str | ParrotReply]:
        """Yield words, then the whole reply."""
        reply = self.say(prompt, **options)
        yield from reply.words
        yield reply


def count(text: str) -> int:
    """Return the tokens of a text, at least 1."""
    return max(1, len(text.split()))


def _sentence(prompt: str) -> str:
    lines = [line for line in prompt.splitlines() if line.strip()]
    return re.split(r"(?<=[.?!])\s", " ".join(lines))[0].strip()


def _fill(schema: Mapping[str, Any], prompt: str) -> Any:
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type")
    if kind == "object":
        return {name: _fill(each, prompt) for name, each in schema["properties"].items()}
    values: dict[Any, Any] = {
        "array": [],
        "boolean": False,
        "integer": 0,
        "number": 0.0,
        "string": _sentence(prompt)[:40],
    }
    if kind not in values:
        raise ParrotError(400, f"no such type, prompt was {prompt!r}")
    return values[kind]
