"""How this server counts tokens: the same for every model, and easy to compute in a test.

- A text of n characters (code points) has n / 4 tokens, rounded up. Each part counts by itself.
- A functionCall, functionResponse or other structured part counts as its compact JSON text.
- Inline data and files count 258 tokens each.
- A prompt is the sum over its system instruction, its contents and its tools (compact JSON of
  each). Roles, safety settings, schemas of the answer and the rest of the configuration are free.
- An answer counts its texts and function calls; thoughts are counted by the script alone.

A text is cut and divided between tokens, so that counts of pieces add up.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

CHARACTERS_PER_TOKEN = 4
BLOB_TOKENS = 258


def compact(value: Any) -> str:
    """JSON without spaces, the letters of every script as they are."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def count_text(text: str) -> int:
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def count_part(part: Mapping[str, Any]) -> int:
    if "text" in part:
        return count_text(part["text"])
    if "inlineData" in part or "fileData" in part:
        return BLOB_TOKENS
    return count_text(compact(part))


def count_parts(parts: Iterable[Mapping[str, Any]]) -> int:
    return sum(count_part(part) for part in parts)


def count_prompt(request: Mapping[str, Any]) -> int:
    """Count a request in the form of `wire.normalise()`."""
    contents = [request.get("systemInstruction") or {}, *request.get("contents", ())]
    total = sum(count_parts(content.get("parts", ())) for content in contents)
    return total + sum(count_text(compact(tool)) for tool in request.get("tools", ()))


def cut_text(text: str, tokens: int) -> str:
    """The first tokens of a text."""
    return text[: max(0, tokens) * CHARACTERS_PER_TOKEN]


def split_text(text: str, pieces: int) -> list[str]:
    """Divide a text between tokens into at most so many pieces, of about equal length."""
    tokens = count_text(text)
    count = max(1, min(pieces, tokens))
    ends = [tokens * number // count * CHARACTERS_PER_TOKEN for number in range(count + 1)]
    return [text[start:end] for start, end in pairwise(ends)]
