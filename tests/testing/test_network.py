"""The network guard stops real calls, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import socket
import threading
import urllib.request
from email.utils import make_msgid
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


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "http_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("way", ["urllib", "httpx"])
def test_a_proxy_on_this_machine_is_no_way_out(
    monkeypatch: pytest.MonkeyPatch, name: str, way: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        proxy.settimeout(0.1)
        address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        monkeypatch.setenv(name, address)
        scheme = "http" if name == "http_proxy" else "https"
        with pytest.raises(NetworkBlockedError, match=r"example\.com"), block_network():
            if way == "urllib":
                urllib.request.urlopen(f"{scheme}://example.com/", timeout=1)  # noqa: S310
            else:
                pytest.importorskip("httpx2").Client(timeout=1).get(f"{scheme}://example.com/")
        with pytest.raises(TimeoutError):
            proxy.accept()
        assert os.environ[name] == address


@pytest.mark.parametrize("way", ["sendto", "sendto with flags", "sendmsg"])
def test_datagrams_are_guarded(way: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        with pytest.raises(NetworkBlockedError, match=f"{FAR}:53"), block_network():
            if way == "sendto":
                sock.sendto(b"x", (FAR, 53))
            elif way == "sendto with flags":
                sock.sendto(b"x", 0, (FAR, 53))
            else:
                sock.sendmsg([b"x"], [], 0, (FAR, 53))


def test_datagrams_and_streams_on_this_machine_are_not_stopped() -> None:
    with block_network(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there:
        there.bind(("127.0.0.1", 0))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"one", there.getsockname())
            sock.sendmsg([b"two"], [], 0, there.getsockname())
        assert (there.recv(9), there.recv(9)) == (b"one", b"two")
        left, right = socket.socketpair()
        with left, right:
            left.sendmsg([b"three"])
            assert right.recv(9) == b"three"


@pytest.mark.parametrize("name", ["gethostbyname", "gethostbyname_ex", "gethostbyaddr"])
def test_older_lookups_are_guarded(name: str) -> None:
    with block_network():
        assert getattr(socket, name)("127.0.0.1")
    with pytest.raises(NetworkBlockedError, match=r"example\.com"), block_network():
        getattr(socket, name)("example.com")


def test_a_mail_may_ask_for_the_name_of_this_machine() -> None:
    with block_network():
        assert make_msgid()  # as django.core.mail does
