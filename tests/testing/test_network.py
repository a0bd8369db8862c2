"""The network guard stops real calls, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
import threading
from pathlib import Path
from unittest import mock

import pytest

from django_obc_ai.backends.providers.google_genai import GoogleGenAIProvider
from django_obc_ai.testing import NetworkBlockedError, block_network
from django_obc_ai.types import GenerationRequest
from tests.extras import requires
from tests.servers.gemini import GeminiServer

FAR = "192.0.2.1"  # for documentation: nobody has it


@pytest.mark.parametrize("host", [FAR, "2001:db8::1", "generativelanguage.googleapis.com"])
def test_connecting_to_another_machine_fails(host: str) -> None:
    with pytest.raises(NetworkBlockedError, match=f"reach {host}:443"), block_network():
        socket.create_connection((host, 443), timeout=1)


@pytest.mark.parametrize("way", ["connect", "connect_ex", "http", "asyncio", "lookup"])
def test_every_way_of_pythons_sockets_is_guarded(way: str) -> None:
    async def awaited() -> None:
        await asyncio.open_connection(FAR, 443)

    with pytest.raises(NetworkBlockedError), block_network():
        if way in ("connect", "connect_ex"):
            with socket.socket() as sock:
                getattr(sock, way)((FAR, 443))
        elif way == "http":
            http.client.HTTPSConnection(FAR).request("GET", "/")
        elif way == "asyncio":
            asyncio.run(awaited())
        else:
            socket.getaddrinfo("example.com", 443)


def test_loopback_and_unix_sockets_stay_open(gemini_server: GeminiServer, tmp_path: Path) -> None:
    place = gemini_server.url.removeprefix("http://")
    with block_network(), contextlib.ExitStack() as stack:
        connection = http.client.HTTPConnection(place)
        stack.callback(connection.close)
        connection.request("GET", "/v1beta/models", headers={"x-goog-api-key": gemini_server.key})
        assert connection.getresponse().status == 200
        listening = stack.enter_context(socket.socket(socket.AF_UNIX))
        listening.bind(str(tmp_path / "s"))
        listening.listen()
        stack.enter_context(socket.socket(socket.AF_UNIX)).connect(str(tmp_path / "s"))
        assert socket.getaddrinfo("localhost", 80)


def test_allowed_hosts_may_be_asked() -> None:
    with mock.patch("socket.getaddrinfo", return_value=["asked"]):
        with block_network(allow=["example.com"]):
            assert socket.getaddrinfo("example.com", 80) == ["asked"]
        with pytest.raises(NetworkBlockedError), block_network(allow=["example.com"]):
            socket.getaddrinfo("other.example.com", 80)


def test_an_error_that_is_caught_comes_back_at_the_end() -> None:
    def hide() -> None:
        with contextlib.suppress(BaseException):
            socket.create_connection((FAR, 80))

    with pytest.raises(NetworkBlockedError, match=f"{FAR}:80"), block_network() as guard:
        thread = threading.Thread(target=hide)
        thread.start()
        thread.join()
    assert guard.attempts == [f"{FAR}:80"]


def test_errors_of_the_test_itself_are_not_hidden_by_an_innocent_guard() -> None:
    with pytest.raises(ZeroDivisionError), block_network():
        raise ZeroDivisionError


def test_as_a_decorator_and_one_in_another() -> None:
    @block_network()
    def far() -> None:
        with block_network(allow=[FAR]), socket.socket() as sock:
            sock.connect((FAR, 443))  # the outer guard forbids it

    before = socket.socket.connect
    for _ in range(2):
        with pytest.raises(NetworkBlockedError):
            far()
    assert socket.socket.connect is before


@requires("google.genai")
@pytest.mark.parametrize("way", ["generate", "agenerate"])
def test_a_real_provider_does_not_swallow_it(way: str) -> None:
    provider = GoogleGenAIProvider(api_key="key", model="gemini-2.5-flash")
    request = GenerationRequest(prompt="Q")
    with pytest.raises(NetworkBlockedError, match=r"generativelanguage\.googleapis\.com"):
        with block_network():
            if way == "generate":
                provider.generate(request)
            else:
                asyncio.run(provider.agenerate(request))  # type: ignore[arg-type]
    provider.close()
