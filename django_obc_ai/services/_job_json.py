"""Jobs as JSON: what is asked, who asks it, and how it was answered. There and back is exact.

PostgreSQL's JSON takes neither a zero byte nor half a surrogate pair, so those are written in
another way; and it puts the keys of objects into an order of its own, which a schema may mean, so
schemas, options and parsed answers are texts in it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from decimal import Decimal
from typing import Any
from uuid import UUID

from django_obc_ai import exceptions
from django_obc_ai.exceptions import (
    AbandonedCallError,
    ConfigurationError,
    JobCancelledError,
    JobDeadlineError,
    ObcAIError,
    ProviderError,
)
from django_obc_ai.logs import correlation
from django_obc_ai.models import Job
from django_obc_ai.services.results import Call, without_call
from django_obc_ai.telemetry import carry_context, restore_context
from django_obc_ai.types import (
    CallInfo,
    GenerationRequest,
    GenerationResult,
    Message,
    Source,
    Usage,
)

_ODD = re.compile("[\x00\x1a\ud800-\udfff]")
_WRITTEN_ODD = re.compile("\x1a([0-9a-f]{4})")
#: Whose it is stands in a column, which `erase_user` empties; each attempt has an operation; and a
#: job is in the line itself.
_NOT_WRITTEN = ("operation_id", "user_id", "line")
_INFO = tuple(each.name for each in fields(CallInfo) if each.name not in _NOT_WRITTEN)
_TEXTS = ("prompt", "model", "system", "max_output_tokens", "temperature", "prompt_version")
#: What people and models say; of these the latter are JSON as a text.
_SAID = ("prompt", "system", "history", "sources", "text", "error_message")
_WRITTEN_JSON = ("response_schema", "options", "data")
#: Errors of jobs that ended without a call.
_BY_CODE: dict[str, type[ObcAIError]] = {
    each.code: each for each in (JobCancelledError, JobDeadlineError, AbandonedCallError)
}


def write_call(request: GenerationRequest, info: CallInfo) -> dict[str, Any]:
    """Return a call as JSON.

    Raises:
        TypeError: Something in it is no JSON value.
    """
    for name, kind in (("history", Message), ("sources", Source)):
        if not all(isinstance(each, kind) for each in getattr(request, name)):
            raise TypeError(f"{name} holds something that is no {kind.__name__}.")
    written = {
        **{name: getattr(request, name) for name in _TEXTS},
        "history": [[each.role, each.text] for each in request.history],
        "sources": [[each.title, each.text] for each in request.sources],
        "response_schema": _text_of("response_schema", request.response_schema),
        "options": _text_of("options", request.options),
        "info": {name: getattr(info, name) for name in _INFO},
        "correlation_id": correlation.current(),
        "trace": carry_context(),
    }
    _text_of("An argument", {**written, "info": written["info"]})
    found: dict[str, Any] = _escaped(written)
    return found


def read_call(job: Job) -> Call:
    """Return the call of a job, attributed to whom the job belongs now."""
    stored: dict[str, Any] = _plain(job.request)
    known = {name: each for name, each in stored["info"].items() if name in _INFO}
    known["cache_tags"] = tuple((name, version) for name, version in known["cache_tags"])
    schema = stored["response_schema"]
    request = GenerationRequest(
        **{name: stored[name] for name in _TEXTS},
        history=tuple(Message(role=role, text=text) for role, text in stored["history"]),
        sources=tuple(Source(title=title, text=text) for title, text in stored["sources"]),
        response_schema=None if schema is None else json.loads(schema),
        options=json.loads(stored["options"]),
    )
    return request, CallInfo(operation_id=_operation_of(job), user_id=job.user_id, **known)


@contextmanager
def as_asked(job: Job) -> Iterator[None]:
    """Work under the correlation id and in the trace of who asked."""
    stored = _plain(job.request)
    with correlation.bound(stored.get("correlation_id", "")), restore_context(stored.get("trace")):
        yield


def texts_of(job: Job) -> dict[str, Any]:
    """Return what was asked and answered, without passages of sources, for whoever asked."""
    asked, answer = _plain(job.request), _plain(job.result) or {}
    found = {name: asked.get(name, "") for name in ("system", "prompt")}
    found["history"] = [{"role": role, "text": text} for role, text in asked.get("history", ())]
    found["sources"] = [title for title, _ in asked.get("sources", ())]
    return {**found, "answer": answer.get("text", "")}


def rewritten(stored: dict[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """Return a request or an answer with its texts changed, names and tags as they are."""
    found = dict(stored)
    for name in _SAID:
        if name in stored:
            found[name] = _escaped(_changed(_plain(stored[name]), change))
    for name in _WRITTEN_JSON:
        if stored.get(name) is not None:
            value = _changed(json.loads(_plain(stored[name])), change)
            found[name] = _escaped(json.dumps(value, ensure_ascii=False))
    return found


def _changed(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_changed(each, change) for each in value]
    if isinstance(value, dict):
        return {name: _changed(each, change) for name, each in value.items()}
    return value


def _operation_of(job: Job) -> UUID:
    assert job.operation_id is not None  # noqa: S101 - whoever takes a job gives it one
    return job.operation_id


def write_result(result: GenerationResult) -> dict[str, Any]:
    """Return an answer as JSON."""
    written = {name: result[name] for name in result if name not in ("usage", "data")}
    error = result.exception
    written |= {
        "cost": str(result.cost),
        "operation_id": None if result.operation_id is None else str(result.operation_id),
        "usage": {each.name: getattr(result.usage, each.name) for each in fields(Usage)},
        "data": json.dumps(result.data, ensure_ascii=False),
    }
    if error is not None:
        written["exception"] = {
            "class": type(error).__name__,
            "retryable": getattr(error, "retryable", False),
            "retry_after_seconds": getattr(error, "retry_after_seconds", None),
        }
    found: dict[str, Any] = _escaped(written)
    return found


def read_result(job: Job) -> GenerationResult | None:
    """Return how a job has ended; None for one that has not."""
    if job.result is None:
        return None if not job.error_category else _without_call(job)
    stored: dict[str, Any] = _plain(job.result)
    facts = stored.pop("exception", None)
    operation = stored["operation_id"]
    stored |= {
        "cost": Decimal(stored["cost"]),
        "operation_id": None if operation is None else UUID(operation),
        "usage": Usage(**stored["usage"]),
        "data": json.loads(stored["data"]),
        "response_time": float(stored["response_time"]),
    }
    error = None
    if not stored["success"]:
        error = _error_of(stored["error"], stored["error_message"], facts or {})
    return GenerationResult(**stored, exception=error)


def _without_call(job: Job) -> GenerationResult:
    category, message = job.error_category, job.error_message
    error = _error_of(category, message, {})
    return without_call(category, message, exception=error, operation_id=job.operation_id)


def _error_of(code: str, message: str, facts: Mapping[str, Any]) -> ObcAIError | ConfigurationError:
    """Return the error again, as far as a name, a text and a few facts can tell it."""
    kind = getattr(exceptions, facts.get("class", ""), None) or _BY_CODE.get(code, ProviderError)
    if not (isinstance(kind, type) and issubclass(kind, (ObcAIError, ConfigurationError))):
        kind = ProviderError
    error: ObcAIError | ConfigurationError = kind(message)
    error.code = code
    if isinstance(error, ObcAIError):
        error.retryable = bool(facts.get("retryable", error.retryable))
        error.retry_after_seconds = facts.get("retry_after_seconds")
    return error


def _text_of(name: str, value: Any) -> str | None:
    """Return JSON of a value as a text, and None for None.

    Raises:
        TypeError: It is no JSON value.
    """
    if value is None:
        return None
    try:
        return json.dumps(_checked(value), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} cannot be stored as JSON with a job: {error}.") from None


def _checked(value: Any) -> Any:
    """Return a value as lists and dictionaries; keys that are no texts would come back as such."""
    if isinstance(value, Mapping):
        wrong = next((key for key in value if not isinstance(key, str)), None)
        if wrong is not None:
            raise TypeError(f"a key is of type {type(wrong).__name__}, not text")
        return {name: _checked(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_checked(each) for each in value]
    return value


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return _ODD.sub(lambda found: f"\x1a{ord(found[0]):04x}", value)
    if isinstance(value, (list, tuple)):
        return [_escaped(each) for each in value]
    if isinstance(value, dict):
        return {name: _escaped(each) for name, each in value.items()}
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return _WRITTEN_ODD.sub(lambda found: chr(int(found[1], 16)), value)
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return value
