"""Events of calls, of the gateway and of the response cache."""

from __future__ import annotations

from logging import DEBUG, ERROR, INFO, WARNING

from django_obc_ai.logs.event import OFTEN, Event

# --- calls: one for each, in the thread of the caller ---------------------------------------------
_CALL = (
    "operation_id", "operation_type", "ai_module", "provider", "model", "input_tokens",
    "cached_tokens", "output_tokens", "thinking_tokens", "cost_usd", "cost_known",
    "response_time_ms", "attempts", "cached", "outcome",
)  # fmt: skip
_CALL_TEXT = (
    "%(operation_type)s, %(model)s: %(outcome)s, %(input_tokens)d tokens in, %(output_tokens)d"
    " out, $%(cost_usd).9f, %(response_time_ms)d ms."
)
CALLS_FINISHED = Event(name="calls.finished", level=INFO, message=_CALL_TEXT, fields=_CALL)
CALLS_CACHED = Event(name="calls.cached", level=DEBUG, message=_CALL_TEXT, fields=_CALL)
CALLS_FAILED = Event(
    name="calls.failed", level=WARNING, message=_CALL_TEXT, fields=_CALL, every_seconds=10.0
)
CALLS_RETRIED = Event(
    name="calls.retried",
    level=INFO,
    message="Attempt %(attempt)d at %(alias)r failed, %(error_category)s; the next one follows in"
    " %(wait_ms)d ms.",
    fields=("alias", "attempt", "error_category", "wait_ms"),
    every_seconds=10.0,
)
CALLS_FELL_BACK = Event(
    name="calls.fell_back",
    level=WARNING,
    message="The provider %(from_alias)r failed, %(error_category)s; %(to_alias)r is asked.",
    fields=("from_alias", "to_alias", "error_category"),
    every_seconds=10.0,
)
CALLS_ALIAS_UNUSABLE = Event(
    name="calls.alias_unusable",
    level=ERROR,
    message="The provider %(alias)r, named in OBC_AI['FALLBACKS'], cannot be used.",
    fields=("alias",),
    every_seconds=OFTEN,
)

# --- gateway --------------------------------------------------------------------------------------
GATEWAY_UNPRICED = Event(
    name="gateway.unpriced",
    level=WARNING,
    message="The model %(model)r has no price; its cost is not known.",
    fields=("model",),
    every_seconds=OFTEN,
)
GATEWAY_FOREIGN_ERROR = Event(
    name="gateway.foreign_error",
    level=ERROR,
    message="The provider raised an error that is none of ours.",
)
GATEWAY_PAUSES_UNREAD = Event(
    name="gateway.pauses_unread",
    level=ERROR,
    message="The paused providers cannot be read; what was read last goes on to hold.",
    every_seconds=OFTEN,
)

# --- cache ----------------------------------------------------------------------------------------
CACHE_READ_FAILED = Event(
    name="cache.read_failed",
    level=WARNING,
    message="The response cache failed to answer; the provider is called.",
    every_seconds=OFTEN,
)
CACHE_WRITE_FAILED = Event(
    name="cache.write_failed",
    level=WARNING,
    message="The response cache did not store an answer.",
    every_seconds=OFTEN,
)
CACHE_TAGS_FAILED = Event(
    name="cache.tags_failed",
    level=WARNING,
    message="The response cache failed to read tags.",
    every_seconds=OFTEN,
)
CACHE_TOO_LARGE = Event(
    name="cache.too_large",
    level=INFO,
    message="An answer of %(bytes)d bytes is too large for the response cache.",
    fields=("bytes",),
    every_seconds=OFTEN,
)
CACHE_NOT_INVALIDATED = Event(
    name="cache.not_invalidated",
    level=ERROR,
    message="The response cache did not drop %(tags)d tags; answers of old data may be served.",
    fields=("tags",),
    every_seconds=OFTEN,
)
CACHE_REFRESH_FAILED = Event(
    name="cache.refresh_failed",
    level=WARNING,
    message="An answer past its time could not be made anew; it is served a while longer.",
    every_seconds=OFTEN,
)
