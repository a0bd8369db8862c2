"""System checks of what is declared about a provider."""

from __future__ import annotations

from typing import Any

import pytest

from django_obc_ai.backends.providers.openai_compatible import OpenAICompatibleProvider
from tests.checks.test_checks import assert_only, found
from tests.extras import requires
from tests.fakes import entry

pytestmark = requires("openai")


def local(base_url: str, **options: Any) -> dict[str, Any]:
    return entry(
        OpenAICompatibleProvider, **{"base_url": base_url, "model": "m", "is_local": True} | options
    )


@pytest.mark.parametrize(
    "host", ["api.openai.com", "openrouter.ai", "8.8.8.8", "[2606:4700::1111]", "LLM.Example.org."]
)
def test_W015_free_on_a_public_host(host: str) -> None:  # noqa: N802
    messages = found(PROVIDERS=local(f"https://{host}/v1"))
    named = host.lower().strip("[].")
    assert_only("W015", messages, f"OBC_AI['PROVIDERS']['default'] declares is_local, but {named} ")
    priced = {"m": {"input_usd": 1, "output_usd": 1}}
    paid = local(f"https://{host}/v1", is_local=False, api_key="sk-0123456789")
    assert found(PROVIDERS=paid, PRICES=priced) == []


@pytest.mark.parametrize(
    "host",
    ["localhost:11434", "127.0.0.1:11434", "[::1]:8000", "10.1.2.3", "192.168.1.9:8000",
     "ollama:11434", "gpu.local", "llm.internal", "llm.lan", "gpu.home.arpa", "llm.localhost"],
)  # fmt: skip
def test_a_host_of_the_own_network_may_be_free(host: str) -> None:
    assert found(PROVIDERS=local(f"http://{host}/v1")) == []
