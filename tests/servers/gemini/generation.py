"""From a request and the script's reply to the chunks that go out and what each one costs."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.servers.gemini import tokens
from tests.servers.gemini.catalogue import Model
from tests.servers.gemini.journal import BilledTokens
from tests.servers.gemini.replies import Reply
from tests.servers.gemini.schema import make_value
from tests.servers.gemini.wire import ApiError

#: Finish reasons that come without content unless the script gives a text.
WITHOUT_CONTENT = frozenset({
    "SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "OTHER",
    "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "MALFORMED_RESPONSE", "IMAGE_SAFETY",
})  # fmt: skip
FLAGGED = frozenset({"SAFETY", "PROHIBITED_CONTENT", "BLOCKLIST"})
SIGNATURE = base64.b64encode(b"loopback thought").decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """An answer in pieces, at least one. A piece is its parts; blocked prompts have none.

    Attributes:
        counts: Candidate tokens after each piece.
        before: Billed when the first piece begins: the prompt and the thoughts.
    """

    reply: Reply
    pieces: tuple[tuple[dict[str, Any], ...], ...]
    counts: tuple[int, ...]
    before: BilledTokens
    finish_reason: str
    model_version: str
    response_id: str

    def billed(self, number: int) -> BilledTokens:
        """What is billed once `number` pieces are generated."""
        candidates = self.counts[number - 1] if number else 0
        return self.before + BilledTokens(candidates=candidates)

    def usage(self, number: int) -> dict[str, Any] | None:
        """usageMetadata of piece `number` (from 1), or None if the script keeps it back."""
        is_last = number == len(self.pieces)
        mode = self.reply.usage
        if (
            mode == "missing"
            or (mode == "last_only" and not is_last)
            or (mode == "not_last" and is_last)
        ):
            return None
        usage = usage_metadata(self.billed(number))
        usage.update(self.reply.usage_fields)
        return {name: value for name, value in usage.items() if value is not None}

    def payload(self, number: int) -> dict[str, Any]:
        """The GenerateContentResponse for piece `number` (from 1)."""
        found: dict[str, Any] = {}
        if self.reply.block_reason:
            found["promptFeedback"] = {
                "blockReason": self.reply.block_reason,
                "safetyRatings": [_rating(blocked=True)],
            }
        else:
            found["candidates"] = [self._candidate(number)]
        usage = self.usage(number)
        if usage is not None:
            found["usageMetadata"] = usage
        return {**found, "modelVersion": self.model_version, "responseId": self.response_id}

    def _candidate(self, number: int) -> dict[str, Any]:
        parts = self.pieces[number - 1]
        candidate: dict[str, Any] = {}
        if parts:
            candidate["content"] = {"parts": list(parts), "role": "model"}
        elif self.finish_reason not in WITHOUT_CONTENT:
            candidate["content"] = {"role": "model"}
        # A stream that the script cuts never says that it is finished.
        if number == len(self.pieces) and not self.reply.cut:
            candidate["finishReason"] = self.finish_reason
            if self.finish_reason in FLAGGED:
                candidate["safetyRatings"] = [_rating(blocked=True)]
            if self.finish_reason == "RECITATION":
                source = {"startIndex": 0, "endIndex": 40, "uri": "https://example.org/book"}
                candidate["citationMetadata"] = {"citationSources": [source]}
        if self.reply.continuation_token:
            token = self.reply.continuation_token.encode()
            candidate["continuationToken"] = base64.b64encode(token).decode()
        return {**candidate, "index": 0}


def _rating(*, blocked: bool) -> dict[str, Any]:
    rating = {"category": "HARM_CATEGORY_DANGEROUS_CONTENT", "probability": "HIGH"}
    return {**rating, "blocked": blocked}


def usage_metadata(billed: BilledTokens) -> dict[str, Any]:
    """What the service reports for this; counts of 0 are left out, as on the real wire."""
    optional = {
        "candidatesTokenCount": billed.candidates,
        "cachedContentTokenCount": billed.cached,
        "thoughtsTokenCount": billed.thoughts,
        "toolUsePromptTokenCount": billed.tool,
    }
    return {
        "promptTokenCount": billed.prompt,
        **{name: value for name, value in optional.items() if value},
        "totalTokenCount": billed.total,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": billed.prompt}],
    }


def generate(
    request: Mapping[str, Any], reply: Reply, *, model: Model, is_stream: bool, response_id: str
) -> Generation:
    """Work out the whole answer.

    Args:
        request: Checked, in the form of `wire.normalise()`.
        response_id: Sent as responseId.
    """
    config = request.get("generationConfig") or {}
    prompt = tokens.count_prompt(request) if reply.prompt_tokens is None else reply.prompt_tokens
    limit = config.get("maxOutputTokens", model.output_limit)
    thoughts = 0 if reply.block_reason else _thoughts(config, reply, limit)
    text, calls, is_cut = _content(request, reply, config, limit - thoughts)
    pieces, counts = _divide(text, calls, reply.chunks if is_stream else 1)
    if thoughts and (config.get("thinkingConfig") or {}).get("includeThoughts"):
        pieces[0] = ({"text": "A thought.", "thought": True}, *pieces[0])
    if model.version.startswith("gemini-2"):
        signed = pieces
    else:
        signed = [tuple(_sign(part) for part in piece) for piece in pieces]
    return Generation(
        reply=reply,
        pieces=tuple(signed),
        counts=tuple(counts),
        before=BilledTokens(
            prompt=prompt,
            cached=min(reply.cached_tokens, prompt),
            thoughts=thoughts,
            tool=reply.tool_tokens,
        ),
        finish_reason="MAX_TOKENS" if is_cut else reply.finish_reason,
        model_version=reply.model_version or model.version,
        response_id=response_id,
    )


def _thoughts(config: Mapping[str, Any], reply: Reply, limit: int) -> int:
    budget = (config.get("thinkingConfig") or {}).get("thinkingBudget", -1)
    wanted = reply.thoughts_tokens if budget < 0 else min(reply.thoughts_tokens, budget)
    return min(wanted, limit)


def _content(
    request: Mapping[str, Any], reply: Reply, config: Mapping[str, Any], limit: int
) -> tuple[str, list[dict[str, Any]], bool]:
    """Text and function calls within the limit, and whether something was cut off."""
    if reply.block_reason:
        return "", [], False
    calls = [{"functionCall": dict(call)} for call in reply.function_calls]
    text = _make_text(request, reply, config) if reply.text is None else reply.text
    shortened = tokens.cut_text(text, limit)
    left = limit - tokens.count_text(shortened)
    fits = tokens.count_parts(calls) <= left
    return shortened, calls if fits else [], shortened != text or not fits


def _make_text(request: Mapping[str, Any], reply: Reply, config: Mapping[str, Any]) -> str:
    if reply.finish_reason in WITHOUT_CONTENT or reply.function_calls:
        return ""
    schema = config.get("responseJsonSchema") or config.get("responseSchema")
    mime_type = config.get("responseMimeType")
    if schema:
        if not isinstance(schema, Mapping):
            raise ApiError(400, "Invalid value at 'generation_config.response_schema'")
        value = make_value(schema)
        return str(value) if mime_type == "text/x.enum" else tokens.compact(value)
    digest = hashlib.sha256(prompt_text(request).encode()).hexdigest()[:12]
    if mime_type == "application/json":
        return tokens.compact({"answer": digest})
    return (
        f"Answer {digest} to {len(request['contents'])} turns; the loopback server knows no more."
    )


def prompt_text(request: Mapping[str, Any]) -> str:
    """All texts of a request, system instruction first, a line each."""
    contents = [request.get("systemInstruction") or {}, *request.get("contents", ())]
    parts = [part for content in contents for part in content.get("parts", ())]
    return "\n".join(part["text"] for part in parts if "text" in part)


def _divide(
    text: str, calls: list[dict[str, Any]], chunks: int
) -> tuple[list[tuple[dict[str, Any], ...]], list[int]]:
    texts = tokens.split_text(text, chunks)
    pieces: list[tuple[dict[str, Any], ...]] = [({"text": each},) if each else () for each in texts]
    pieces[-1] = (*pieces[-1], *calls)
    counts, total = [], 0
    for piece in pieces:
        total += tokens.count_parts(piece)
        counts.append(total)
    return pieces, counts


def _sign(part: dict[str, Any]) -> dict[str, Any]:
    return {**part, "thoughtSignature": SIGNATURE} if "functionCall" in part else part
