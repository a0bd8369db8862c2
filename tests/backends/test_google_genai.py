"""What google-genai alone can do: native async, and the SDK's habits that are switched off."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.backends.gemini_cases import ask
from tests.servers.gemini import GeminiServer, replies


def test_one_event_loop_after_the_other(make_genai: Any, gemini_server: GeminiServer) -> None:
    provider = make_genai()
    for _ in range(3):
        assert asyncio.run(provider.agenerate(ask())).text
    assert not provider._clients.get()._api_client._async_httpx_client._of_loops
    assert len(gemini_server.journal) == 3


def test_connections_of_a_loop_are_used_again(make_genai: Any) -> None:
    provider = make_genai()

    async def several() -> Any:
        for _ in range(3):
            await provider.agenerate(ask())
        clients = provider._clients.get()._api_client._async_httpx_client._of_loops
        return [client._transport._pool.connections for client, _ in clients.values()]

    ((connection,),) = asyncio.run(several())
    assert "Request Count: 3" in repr(connection)


def test_cancelling_ends_the_request(make_genai: Any, gemini_server: GeminiServer) -> None:
    gemini_server.script(replies.answer(delay_seconds=30))
    provider = make_genai()

    async def start_and_cancel() -> None:
        task = asyncio.ensure_future(provider.agenerate(ask()))
        while not gemini_server.is_answering():  # noqa: ASYNC110 - the server runs in a thread
            await asyncio.sleep(0.01)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(start_and_cancel())
    assert gemini_server.journal[0].client_left


def test_the_sdk_calls_no_function_by_itself(make_genai: Any, gemini_server: GeminiServer) -> None:
    call = {"name": "look_up", "args": {"place": "Upi"}}
    gemini_server.script(replies.answer("", function_calls=(call,)), is_repeated=True)
    provider = make_genai()
    afc = provider._arguments(ask())["config"].automatic_function_calling
    assert afc.disable is True
    provider.generate(ask())
    asyncio.run(provider.agenerate(ask()))
    assert len(gemini_server.journal) == 2


def test_async_calls_go_through_our_client_and_never_aiohttp(make_genai: Any) -> None:
    provider = make_genai()
    client = provider._clients.get()._api_client
    assert client._use_aiohttp() is False  # which repeats requests by itself
    assert type(client._async_httpx_client).__name__ == "PerLoopClient"
