"""Fixtures of the tests of backends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.servers.gemini import GeminiServer


@pytest.fixture
def make_genai(gemini_server: GeminiServer) -> Iterator[Any]:
    """Build providers of google-genai that talk to the loopback server."""
    from django_obc_ai.backends.providers.google_genai import GoogleGenAIProvider

    made = []

    def build(**options: Any) -> GoogleGenAIProvider:
        defaults = {
            "api_key": gemini_server.key,
            "model": "gemini-2.5-flash",
            "base_url": gemini_server.url,
        }
        made.append(GoogleGenAIProvider(**{**defaults, **options}))
        return made[-1]

    yield build
    for each in made:
        each.close()
