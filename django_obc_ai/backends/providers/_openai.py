"""How answers of OpenAI's protocol are read: counts, finish reasons, errors."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from django_obc_ai.exceptions import (
    AuthenticationError,
    BadResponseError,
    ContentBlockedError,
    InvalidRequestError,
    ModelNotFoundError,
    ProviderError,
    ProviderTimeoutError,
    QuotaExhaustedError,
    RateLimitError,
    TransientError,
)
from django_obc_ai.types import FinishReason, ProviderResponse, StreamChunk, Usage

_FINISHED: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "content_filter": "blocked",
}
#: A proxy says these, also when it gave up on a service that went on to answer, and to bill.
_OF_PROXIES = frozenset({502, 504, *range(520, 528)})
_QUOTA_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached"})


def usage_of(found: Mapping[str, Any] | None) -> Usage | None:
    """Read a usage object; None if it counts nothing.

    Cached and audio tokens are parts of ``prompt_tokens``; reasoning is part of
    ``completion_tokens``, or stands beside it where the total says so. Tokens that the total
    has and no count explains are booked as thinking, the dearest kind; a total below its parts
    is ignored. Both make the counts inexact.
    """
    if not found:
        return None
    prompt, completion, total = (
        _count(found, name) for name in ("prompt_tokens", "completion_tokens", "total_tokens")
    )
    reasoning = _count(found.get("completion_tokens_details"), "reasoning_tokens")
    details = found.get("prompt_tokens_details")
    if not (prompt or completion or total):
        return None
    is_beside = reasoning > 0 and total == prompt + completion + reasoning
    output = completion if is_beside else max(0, completion - reasoning)
    unexplained = total - prompt - output - reasoning if total else 0
    return Usage(
        input_tokens=prompt,
        cached_tokens=_count(details, "cached_tokens"),
        audio_tokens=_count(details, "audio_tokens"),
        output_tokens=output,
        thinking_tokens=reasoning + max(0, unexplained),
        is_exact=unexplained == 0,
    ).made_plausible()


def _count(found: Any, name: str) -> int:  # Any: from JSON
    value = found.get(name) if isinstance(found, Mapping) else None
    return value if isinstance(value, int) else 0


def read_answer(answer: Mapping[str, Any]) -> ProviderResponse:
    """Read a whole chat completion, or raise the error it stands for."""
    usage, model = usage_of(answer.get("usage")), str(answer.get("model") or "")
    choice = _choice_of(answer)
    message = choice.get("message") or {}
    _check_refusal(message, usage, model)
    if not choice.get("finish_reason"):
        raise BadResponseError(
            "The service answered without a finished choice.", usage=usage, model=model
        )
    return ProviderResponse(
        text=message.get("content") or "",
        finish_reason=_FINISHED.get(choice["finish_reason"], "other"),
        usage=usage,
        model=model,
    )


def read_piece(piece: Mapping[str, Any]) -> StreamChunk:
    """Read one piece of a stream; see `read_answer`. The last piece has counts alone."""
    usage, model = usage_of(piece.get("usage")), str(piece.get("model") or "")
    choice = _choice_of(piece)
    delta = choice.get("delta") or {}
    # More of the refusal, and its counts, would come after this piece.
    _check_refusal(delta, usage and replace(usage, is_exact=False), model)
    reason = choice.get("finish_reason")
    return StreamChunk(
        text=delta.get("content") or "",
        usage=usage,
        finish_reason=_FINISHED.get(reason, "other") if reason else None,
        model=model,
    )


def _choice_of(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    return next(iter(answer.get("choices") or ()), {})


def _check_refusal(message: Mapping[str, Any], usage: Usage | None, model: str) -> None:
    if message.get("refusal"):
        raise ContentBlockedError(
            "The model refused to answer. Rephrase the request.", usage=usage, model=model
        )


def read_embeddings(
    answer: Mapping[str, Any], count: int
) -> tuple[Sequence[Sequence[float] | None], Usage | None, str]:
    """Return the rows in the order of the texts, the counts and the model."""
    rows: list[Sequence[float] | None] = [None] * count
    listed = answer.get("data") or ()
    for place, each in enumerate(listed):
        index = each.get("index", place)
        if not isinstance(index, int) or not 0 <= index < count or rows[index] is not None:
            raise unreadable()
        rows[index] = each.get("embedding")
    return rows, usage_of(answer.get("usage")), str(answer.get("model") or "")


def response_format(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return what asks for JSON of a schema; strict where the schema is fit for it."""
    named = {"name": "answer", "schema": dict(schema), "strict": _is_strict(schema)}
    return {"type": "json_schema", "json_schema": named}


def _is_strict(schema: Any) -> bool:  # Any: JSON
    """Return whether every object closes itself and requires all it names, as OpenAI wants."""
    if isinstance(schema, Mapping):
        if schema.get("type") == "object":
            names = set(schema.get("properties") or ())
            is_closed = schema.get("additionalProperties") is False
            if not is_closed or names != set(schema.get("required") or ()):
                return False
        return all(map(_is_strict, schema.values()))
    return all(map(_is_strict, schema)) if isinstance(schema, (list, tuple)) else True


def unreadable() -> BadResponseError:
    """Return the error for a body that is not the protocol's JSON."""
    return BadResponseError("The service's answer cannot be read: it is not the protocol's JSON.")


def error_of(status: int, body: Any, headers: Mapping[str, str]) -> ProviderError:
    """Return our error for a refusal; the service's own message stays out of it.

    Args:
        status: HTTP status, or 0 for an error that came with status 200: its code counts then.
        body: The error object, ``{"code": …, "type": …}``; anything else if there is none.
        headers: Of the response, for ``retry-after``.
    """
    found = _error_of(status, body if isinstance(body, Mapping) else {}, headers)
    if not status:  # an answer was begun
        found.is_possibly_billed = True
    return found


def billed_error_of(answer: Mapping[str, Any]) -> ProviderError:
    """Return our error for an answer of status 200 that holds one, with the counts beside it."""
    found = error_of(0, answer["error"], {})
    found.usage, found.model = usage_of(answer.get("usage")), str(answer.get("model") or "")
    return found


def _error_of(status: int, error: Mapping[str, Any], headers: Mapping[str, str]) -> ProviderError:
    code = error.get("code")
    if not status:
        status = code if isinstance(code, int) and 400 <= code < 600 else 500
    words = [_word(error.get("type")), _word(code)]
    label = " ".join(filter(None, [str(status), *words]))
    if status in (401, 403):
        return AuthenticationError(
            f"The service refused the API key ({label}). Check OPTIONS['api_key'], and what it may"
            " use."
        )
    if status == 404:
        return ModelNotFoundError(
            f"The service does not know the model or the address ({label}). Check"
            " OPTIONS['model'] and OPTIONS['base_url']."
        )
    if status == 402 or (status == 429 and not _QUOTA_CODES.isdisjoint(words)):
        return QuotaExhaustedError(f"The credit or quota of this key is used up ({label}).")
    if status == 429:
        return RateLimitError(
            f"Too many requests to the service ({label}).", retry_after_seconds=_delay(headers)
        )
    is_billed = status in _OF_PROXIES
    if status in (408, 504, 522, 524):
        return ProviderTimeoutError(
            f"The service gave up on the request ({label}).", is_possibly_billed=is_billed
        )
    if status == 409 or (status >= 500 and status != 501):
        failed = TransientError(f"The service failed ({label}).", is_possibly_billed=is_billed)
        failed.retry_after_seconds = _delay(headers)
        return failed
    if "content_filter" in words or "content_policy_violation" in words:
        return ContentBlockedError(
            f"The service blocked the prompt ({label}). Rephrase it.", is_possibly_billed=False
        )
    parameter = _word(error.get("param"))
    where = f", at {parameter}" if parameter else ""
    return InvalidRequestError(f"The service refused the request ({label}{where}).")


def _delay(headers: Mapping[str, str]) -> float | None:
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        if re.fullmatch(r"\d{1,9}(\.\d+)?", headers.get(name, "")):
            return float(headers[name]) * unit
    return None


def _word(value: Any) -> str:  # Any: from JSON
    """Keep a name of the API and nothing that could be a sentence."""
    is_name = isinstance(value, str) and re.fullmatch(r"[a-z][a-z0-9_.\[\]]{0,60}", value)
    return str(value) if is_name else ""
