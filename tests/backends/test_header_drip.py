"""deadline_seconds is total: it also ends a call whose answer has not got past its headers."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from django_obc_ai.backends.providers.google_genai import GoogleGenAIProvider
from django_obc_ai.backends.providers.google_generativeai import GoogleGenerativeAIProvider
from django_obc_ai.backends.providers.openai_compatible import OpenAICompatibleProvider
from django_obc_ai.exceptions import ProviderTimeoutError
from tests.backends.ways import WAYS, run

CLASSES = [GoogleGenAIProvider, GoogleGenerativeAIProvider, OpenAICompatibleProvider]
HEAD = b"HTTP/1.1 200 OK\r\nX-Drip: 0123456789abcdef0123456789abcdef"
SECONDS = 0.15  # between two bytes: each is within every timeout


@pytest.fixture
def dripping_url() -> Iterator[str]:
    """A server whose answers drip in, a byte of the headers at a time."""
    is_over = threading.Event()
    served: list[threading.Thread] = []

    def drip(connection: socket.socket) -> None:
        with connection:
            connection.recv(65_536)
            for number in range(len(HEAD)):
                if is_over.wait(SECONDS):
                    return
                try:
                    connection.sendall(HEAD[number : number + 1])
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.05)

        def accept() -> None:
            while not is_over.is_set():
                try:
                    connection, _ = listening.accept()
                except TimeoutError:
                    continue
                served.append(threading.Thread(target=drip, args=[connection]))
                served[-1].start()

        accepting = threading.Thread(target=accept)
        accepting.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        is_over.set()
        for thread in [accepting, *served]:
            thread.join()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("provider_class", CLASSES, ids=lambda each: str(each.extra))
def test_headers_that_drip_end_at_the_deadline(
    dripping_url: str, provider_class: Any, way: str
) -> None:
    if not provider_class.is_installed():
        pytest.skip(f"{provider_class.extra} is not installed")
    provider = provider_class(
        api_key="key", model="small", base_url=dripping_url, timeout_seconds=1, deadline_seconds=0.6
    )
    provider._clients.get()  # an import of an SDK is no part of a call
    begun = time.monotonic()
    with pytest.raises(ProviderTimeoutError, match="deadline_seconds") as caught:
        run(provider, way)
    assert time.monotonic() - begun < 2
    assert caught.value.is_possibly_billed
    provider.close()
