"""Errors of a backend that are none of ours: told, and their text not."""

from __future__ import annotations

import inspect
import traceback
from typing import Any

import pytest

from django_obc_ai import exceptions
from django_obc_ai.backends.providers import providers
from django_obc_ai.services.text import TextService
from django_obc_ai.types import StreamChunk
from tests.gateway.conftest import Scripted, run_async

pytestmark = pytest.mark.django_db(transaction=True)
SECRET = "the secret of the prompt"


@pytest.mark.parametrize("way", ["call", "acall", "stream", "astream"])
@pytest.mark.parametrize("place", ["first", "later"])
def test_no_traceback_holds_the_text_of_a_foreign_exception(
    scripted: Scripted, caplog: pytest.LogCaptureFixture, way: str, place: str
) -> None:
    class Broken:
        def generate(self, request: Any) -> Any:
            raise RuntimeError(f"bad input: {request.prompt}")

        def stream(self, request: Any) -> Any:
            if place == "later":
                yield StreamChunk(text="One")
            raise RuntimeError(f"bad input: {request.prompt}")

    scripted()
    for name in ("generate", "stream"):
        setattr(providers["default"], name, getattr(Broken(), name))
        setattr(providers["default"], f"a{name}", _awaited(getattr(Broken(), name)))

    async def collect() -> None:
        async for _ in TextService().astream_text(SECRET):
            pass

    with pytest.raises(exceptions.BadResponseError, match="RuntimeError") as caught:
        if way == "call":
            TextService().generate_text(SECRET).raise_for_error()
        elif way == "acall":
            run_async(TextService().agenerate_text(SECRET)).raise_for_error()
        elif way == "stream":
            list(TextService().stream_text(SECRET))
        else:
            run_async(collect())
    assert SECRET not in "".join(traceback.format_exception(caught.value)) + caplog.text
    assert "RuntimeError" in caplog.text
    assert "test_foreign.py:" in caplog.text
    assert "in generate" in caplog.text or "in stream" in caplog.text


def _awaited(function: Any) -> Any:
    """The async twin of a method."""
    if inspect.isgeneratorfunction(function):

        async def stream(request: Any) -> Any:
            for chunk in function(request):
                yield chunk

        return stream

    async def generate(request: Any) -> Any:
        return function(request)

    return generate
