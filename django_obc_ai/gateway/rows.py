"""The row that a call leaves in the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from django_obc_ai.gateway.cache_key import prompt_hash_of
from django_obc_ai.models import AIOperation
from django_obc_ai.types import CallInfo, CallOutcome, GenerationRequest


def row_of(request: GenerationRequest, info: CallInfo, outcome: CallOutcome) -> AIOperation:
    """Return the row of a call, not saved yet."""
    return operation_of(values_of(request, info, outcome))


def operation_of(values: Mapping[str, Any]) -> AIOperation:
    """Return a row as a model: made by position, which takes half as long as by name."""
    model: Any = AIOperation  # the stubs know neither this way nor that fields have an attname
    found: AIOperation = model(
        *(
            values[each.attname] if each.attname in values else each.get_default()
            for each in model._meta.concrete_fields
        )
    )
    return found


def values_of(request: GenerationRequest, info: CallInfo, outcome: CallOutcome) -> dict[str, Any]:
    """Return the values of a row by column: making a model of them takes six times as long."""
    error, first = outcome.error, outcome.first_chunk_seconds
    usage = outcome.usage
    return {
        "id": info.operation_id,
        "operation_type": info.operation_type,
        "module": clean(info.module),
        "user_id": info.user_id,
        "scope": clean(info.scope),
        "content_type": fit("content_type", info.content_type),
        "provider": fit("provider", info.provider),
        "model_requested": fit("model_requested", outcome.model_requested),
        "model_used": fit("model_used", outcome.model_used),
        "input_tokens": usage.input_tokens,
        "cached_tokens": usage.cached_tokens,
        "output_tokens": usage.output_tokens,
        "thinking_tokens": usage.thinking_tokens,
        "tool_tokens": usage.tool_tokens,
        "audio_tokens": usage.audio_tokens,
        "tokens_exact": usage.is_exact,
        "cost_usd": outcome.cost_usd,
        "cost_known": outcome.is_cost_known,
        "response_time_ms": round(outcome.response_time_seconds * 1000),
        "attempts": outcome.attempts,
        "success": error is None,
        "error_category": "" if error is None else fit("error_category", error.code),
        "error_message": "" if error is None else clean(str(error)),
        "finish_reason": fit("finish_reason", outcome.finish_reason),
        "cached": outcome.cached,
        "coalesced": outcome.coalesced,
        "waited_ms": round(outcome.waited_seconds * 1000),
        "fallback_from": fit("fallback_from", outcome.fallback_from),
        "stored_bytes": outcome.stored_bytes,
        "saved_usd": outcome.saved_usd,
        "first_chunk_ms": None if first is None else round(first * 1000),
        "prompt_hash": outcome.prompt_hash or prompt_hash_of(request),
        "cache_entry": outcome.cache_entry,
        "prompt_version": fit("prompt_version", request.prompt_version),
        "created_at": outcome.started_at,
    }


@lru_cache(maxsize=1_000)  # there are few names, and each row has seven
def fit(field: str, text: str) -> str:
    """Return a name that somebody else chose, shortened to what its column holds."""
    column: Any = AIOperation._meta.get_field(field)  # a text column, which the stubs cannot know
    return clean(text)[: column.max_length]


def clean(text: str) -> str:
    """Return a text without what no database takes: NUL, and halves of surrogate pairs."""
    if not text.isascii():
        text = text.encode(errors="replace").decode()
    return text.replace("\x00", "") if "\x00" in text else text
