"""Proxies that the environment names are followed, by each SDK that speaks HTTP through httpx."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.extras import requires
from tests.subprocesses import run_python

_SCRIPT = """
import os, socket, sys, threading

seen = []
proxy = socket.create_server(("127.0.0.1", 0))


def answer():
    while True:
        client, _ = proxy.accept()
        with client:
            seen.append(client.recv(4096).split(b"\\r\\n")[0].decode())
            client.sendall(b"HTTP/1.1 400 No\\r\\nContent-Length: 0\\r\\n\\r\\n")


threading.Thread(target=answer, daemon=True).start()
os.environ["HTTP_PROXY"] = os.environ["http_proxy"] = f"http://127.0.0.1:{proxy.getsockname()[1]}"

from django.conf import settings
from django.utils.module_loading import import_string

settings.configure(INSTALLED_APPS=["django_obc_ai"], SECRET_KEY="x")
from django_obc_ai.exceptions import ObcAIError
from django_obc_ai.types import GenerationRequest

options = {"api_key": "key", "model": "some-model", "base_url": "http://models.invalid/v1"}
provider = import_string(sys.argv[1])(**options)
for excepted in ("", "models.invalid"):
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = excepted
    if excepted:
        provider = import_string(sys.argv[1])(**options)
    try:
        provider.generate(GenerationRequest(prompt="Q"))
    except ObcAIError as error:
        print(error.code, len(seen))
    provider.close()
print(seen[0].split("/v1")[0])
"""
_PROVIDERS = "django_obc_ai.backends.providers"


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(f"{_PROVIDERS}.openai_compatible.OpenAICompatibleProvider",
                     marks=requires("openai")),
        pytest.param(f"{_PROVIDERS}.google_genai.GoogleGenAIProvider",
                     marks=requires("google.genai")),
    ],
)  # fmt: skip
def test_a_proxy_of_the_environment_is_followed_except_for_hosts_it_leaves_out(
    path: str, tmp_path: Path
) -> None:
    found = run_python(["-c", _SCRIPT, path], cwd=tmp_path)
    assert found.returncode == 0, found.stdout
    assert found.stdout.splitlines() == [
        "invalid_request 1", "transient 1", "POST http://models.invalid",
    ]  # fmt: skip
