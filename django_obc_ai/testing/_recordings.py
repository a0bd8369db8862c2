"""Requests, answers and errors of providers as JSON that people can read, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from django_obc_ai import exceptions
from django_obc_ai.exceptions import ProviderError
from django_obc_ai.types import (
    EmbeddingRequest,
    EmbeddingResponse,
    GenerationRequest,
    ProviderResponse,
    StreamChunk,
    Usage,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Part of no request that is sent.
_NOT_SENT = frozenset({"prompt_version"})
_CHUNK_FIELDS = ("text", "finish_reason", "model")


def write_request(
    request: GenerationRequest | EmbeddingRequest, model: str
) -> dict[str, Any]:  # Any here and below: JSON
    """Return what is sent, defaults left out, with the model that is really asked for."""
    written = asdict(request) | {"model": request.model or model}
    return {name: each for name, each in written.items() if each not in (None, "", (), {})
            and name not in _NOT_SENT}  # fmt: skip


def write_response(response: ProviderResponse | EmbeddingResponse) -> dict[str, Any]:
    """Return an answer; vectors are numbers in one text per row, exact to the last bit."""
    if isinstance(response, ProviderResponse):
        written: dict[str, Any] = {"text": response.text, "finish_reason": response.finish_reason}
    else:
        written = {"vectors": [_write_row(row) for row in response.vectors]}
    return written | {"model": response.model} | _usage_of(response.usage)


def read_response(written: dict[str, Any]) -> ProviderResponse | EmbeddingResponse:
    """Return the answer that was written."""
    usage, model = read_usage(written), written.get("model", "")
    if "vectors" not in written:
        return ProviderResponse(
            text=written["text"],
            finish_reason=written["finish_reason"],
            usage=usage,
            model=model,
        )
    import numpy as np

    rows = [np.array(row.split(), dtype=np.float32) for row in written["vectors"]]
    return EmbeddingResponse(vectors=np.stack(rows), usage=usage, model=model)


def write_chunks(chunks: Sequence[StreamChunk]) -> list[dict[str, Any]]:
    """Return the pieces of a stream, empty fields left out."""
    return [
        {name: getattr(chunk, name) for name in _CHUNK_FIELDS if getattr(chunk, name)}
        | _usage_of(chunk.usage)
        for chunk in chunks
    ]


def read_chunk(written: dict[str, Any]) -> StreamChunk:
    """Return one piece that was written."""
    return StreamChunk(**{**written, "usage": read_usage(written)})


def write_error(error: ProviderError) -> dict[str, Any]:
    """Return an error by the nearest class of ours; one of another package has no place here."""
    ours = (each for each in type(error).__mro__ if each.__module__.startswith("django_obc_ai."))
    written = {
        "class": next(ours).__name__,
        "message": str(error),
        "retry_after_seconds": error.retry_after_seconds,
        "model": error.model,
        "is_possibly_billed": vars(error).get("is_possibly_billed"),
    }
    return {name: each for name, each in written.items() if each not in (None, "")} | _usage_of(
        error.usage
    )


def read_error(written: dict[str, Any]) -> ProviderError:
    """Return the error that was written.

    Raises:
        TypeError: There is no such class of errors.
    """
    named = getattr(exceptions, written["class"], None)
    if not (isinstance(named, type) and issubclass(named, ProviderError)):
        raise TypeError("no class of errors of providers")
    return named(
        written.get("message", ""),
        retry_after_seconds=written.get("retry_after_seconds"),
        usage=read_usage(written),
        model=written.get("model", ""),
        is_possibly_billed=written.get("is_possibly_billed"),
    )


def read_usage(written: dict[str, Any]) -> Usage | None:
    """Return the counts that were written, None if there were none."""
    return Usage(**written["usage"]) if "usage" in written else None


def _usage_of(usage: Usage | None) -> dict[str, Any]:
    if usage is None:
        return {}
    told = {f.name: getattr(usage, f.name) for f in fields(Usage)}
    return {"usage": {f.name: told[f.name] for f in fields(Usage) if told[f.name] != f.default}}


def _write_row(row: NDArray[np.float32]) -> str:
    return " ".join(str(each) for each in row)
