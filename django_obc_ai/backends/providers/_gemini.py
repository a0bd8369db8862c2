"""How the Gemini API's answers are read, behind either SDK: counts, finish reasons, errors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
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
from django_obc_ai.types import (
    FinishReason,
    ProviderResponse,
    StreamChunk,
    Usage,
)

API_VERSION = "v1beta"
ROLES = {"user": "user", "assistant": "model"}
TASK_TYPES = {
    "document": "RETRIEVAL_DOCUMENT",
    "query": "RETRIEVAL_QUERY",
    "similarity": "SEMANTIC_SIMILARITY",
}
_BLOCKED = frozenset({
    "SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION",
})  # fmt: skip
_FINISHED: dict[str, FinishReason] = {"STOP": "stop", "MAX_TOKENS": "length"}
_FIELD_PATH = re.compile(r"[A-Za-z]+Request\.([a-z_][\w.\[\]]*)")
_SECONDS = re.compile(r"(\d+(?:\.\d+)?)s")


def finish_reason_of(name: str) -> FinishReason:
    """Return our finish reason for the API's; unknown ones are "other"."""
    if name in _BLOCKED:
        return "blocked"
    return _FINISHED.get(name, "other")


def usage_of(metadata: Mapping[str, Any] | None) -> Usage | None:
    """Read a usageMetadata object, with the names of the REST API.

    - None, or no token at all: the provider reported nothing.
    - A count that is missing is 0. Cached tokens are part of the prompt.
    - Tokens that the total has and no count explains are booked as thinking, the dearest
      kind; a total below its parts is ignored. Both make the counts inexact.
    """
    if not metadata:
        return None
    counts: dict[str, int] = {name: metadata.get(name) or 0 for name in _COUNTS}
    prompt, cached, candidates, thoughts, tool, total = counts.values()
    if not any(counts.values()):
        return None
    unexplained = total - (prompt + candidates + thoughts + tool)
    return Usage(
        input_tokens=prompt,
        cached_tokens=cached,
        output_tokens=candidates,
        thinking_tokens=thoughts + max(0, unexplained),
        tool_tokens=tool,
        audio_tokens=max(
            0,
            _audio_of(metadata.get("promptTokensDetails"))
            - _audio_of(metadata.get("cacheTokensDetails")),
        ),
        is_exact=unexplained == 0,
    ).made_plausible()


_COUNTS = (
    "promptTokenCount",
    "cachedContentTokenCount",
    "candidatesTokenCount",
    "thoughtsTokenCount",
    "toolUsePromptTokenCount",
    "totalTokenCount",
)


def _audio_of(details: Iterable[Mapping[str, Any]] | None) -> int:
    return sum(
        each.get("tokenCount") or 0 for each in details or () if each.get("modality") == "AUDIO"
    )


def embedding_usage_of(metadata: Mapping[str, Any] | None) -> Usage | None:
    """Read the usageMetadata of an embedding; None if it counts nothing."""
    tokens = (metadata or {}).get("promptTokenCount")
    return Usage(input_tokens=tokens) if isinstance(tokens, int) and tokens > 0 else None


def no_answer(usage: Usage | None, model: str) -> BadResponseError:
    """Return the error for an answer of status 200 that has no finished candidate."""
    return BadResponseError(
        "Gemini answered without a finished candidate.", usage=usage, model=model
    )


def read_answer(answer: Mapping[str, Any]) -> ProviderResponse:
    """Read a whole answer, with the names of the REST API, or raise the error it stands for."""
    usage = usage_of(answer.get("usageMetadata"))
    model = str(answer.get("modelVersion") or "")
    _check_blocked(answer, usage, model)
    candidate = _candidate_of(answer)
    if not candidate.get("finishReason"):
        raise no_answer(usage, model)
    return ProviderResponse(
        text=_text_of(candidate),
        finish_reason=finish_reason_of(candidate["finishReason"]),
        usage=usage,
        model=model,
    )


def read_piece(piece: Mapping[str, Any]) -> StreamChunk:
    """Read one piece of a stream; see `read_answer`."""
    usage = usage_of(piece.get("usageMetadata"))
    model = str(piece.get("modelVersion") or "")
    _check_blocked(piece, usage, model)
    candidate = _candidate_of(piece)
    reason = candidate.get("finishReason")
    return StreamChunk(
        text=_text_of(candidate),
        usage=usage,
        finish_reason=finish_reason_of(reason) if reason else None,
        model=model,
    )


def _candidate_of(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    return next(iter(answer.get("candidates") or ()), {})


def _text_of(candidate: Mapping[str, Any]) -> str:
    parts = (candidate.get("content") or {}).get("parts") or ()
    return "".join(part.get("text") or "" for part in parts if not part.get("thought"))


def _check_blocked(answer: Mapping[str, Any], usage: Usage | None, model: str) -> None:
    reason = (answer.get("promptFeedback") or {}).get("blockReason")
    if reason:
        raise ContentBlockedError(
            f"Gemini blocked the prompt ({_word(reason)}). Rephrase it, or review safety_settings.",
            usage=usage,  # it bills the prompt
            model=model,
        )


def unreadable() -> BadResponseError:
    """Return the error for a body that is not the API's JSON."""
    return BadResponseError("Gemini's answer cannot be read: it is not the API's JSON.")


def error_of(status: int, body: Any) -> ProviderError:
    """Return our error for a refusal.

    The API's own message stays out of ours: it may quote the request. Only the status, the
    reason and the path of a field are taken from it.

    Args:
        status: HTTP status.
        body: Parsed JSON, ``{"error": …}`` or a list of one such; anything else if there is
            none.
    """
    if isinstance(body, list):
        body = body[0] if body else None
    error = body.get("error") if isinstance(body, Mapping) else None
    error = error if isinstance(error, Mapping) else {}
    name = _word(str(error.get("status") or ""))
    details = _objects_of(error.get("details"))
    reasons = [_word(str(each["reason"])) for each in details if "reason" in each]
    label = " ".join(filter(None, [str(status), name, *reasons]))
    if status in (401, 403) or "API_KEY_INVALID" in reasons:
        return AuthenticationError(
            f"Gemini refused the API key ({label}). Check OPTIONS['api_key'], and whether the key"
            " may use this API and project."
        )
    if status == 404:
        return ModelNotFoundError(
            f"Gemini does not know the model, or not for this use ({label}). Check"
            " OPTIONS['model']."
        )
    if status == 402:
        return QuotaExhaustedError(f"The prepaid credit of this project is used up ({label}).")
    if status == 429:
        return _quota_error(label, details)
    if status in (408, 504):
        return ProviderTimeoutError(
            f"Gemini gave up on the request ({label}).", is_possibly_billed=False
        )
    if status == 499 or (status >= 500 and status != 501):
        return TransientError(f"Gemini failed ({label}).", is_possibly_billed=False)
    path = _FIELD_PATH.search(str(error.get("message") or ""))
    where = f", at {path[1].rstrip('.')}" if path else ""
    if name == "FAILED_PRECONDITION":
        return InvalidRequestError(
            f"Gemini refused the project ({label}): enable billing for it, or ask from a region"
            " that the API serves."
        )
    return InvalidRequestError(f"Gemini refused the request ({label}{where}).")


def _quota_error(label: str, details: list[Mapping[str, Any]]) -> RateLimitError:
    quotas = [
        str(violation.get("quotaId", ""))
        for each in details
        for violation in _objects_of(each.get("violations"))
    ]
    if any("PerDay" in quota for quota in quotas):
        return QuotaExhaustedError(
            f"The project's daily quota is used up ({label}). It starts anew at midnight Pacific"
            " time; the quotas are shown in Google AI Studio."
        )
    delays = [_SECONDS.fullmatch(str(each.get("retryDelay", ""))) for each in details]
    asked = max((float(found[1]) for found in delays if found), default=None)
    return RateLimitError(f"Too many requests to Gemini ({label}).", retry_after_seconds=asked)


def _objects_of(value: Any) -> list[Mapping[str, Any]]:  # Any: from JSON
    """Return the objects of a list, and nothing of what is no list."""
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def _word(text: str) -> str:
    """Keep a name of the API and nothing that could be a sentence."""
    return text if re.fullmatch(r"[A-Z][A-Z0-9_]{0,60}", text) else ""
