"""Asking a provider in each of its four ways."""

from __future__ import annotations

import asyncio
from typing import Any

from django_obc_ai.types import ProviderResponse, StreamChunk
from tests.backends.gemini_cases import ask

WAYS = ("generate", "agenerate", "stream", "astream")
STREAMED = ("stream", "astream")


def run(provider: Any, way: str, **fields: Any) -> ProviderResponse:
    """Ask in one of the four ways and return the whole answer."""
    request = ask(**fields)
    if way == "generate":
        return provider.generate(request)
    if way == "agenerate":
        return asyncio.run(provider.agenerate(request))
    chunks: list[StreamChunk]
    if way == "stream":
        chunks = list(provider.stream(request))
    else:

        async def collect() -> list[StreamChunk]:
            return [chunk async for chunk in provider.astream(request)]

        chunks = asyncio.run(collect())
    last = chunks[-1]
    assert last.finish_reason is not None
    return ProviderResponse(
        text="".join(chunk.text for chunk in chunks),
        finish_reason=last.finish_reason,
        usage=last.usage,
        model=last.model,
    )
