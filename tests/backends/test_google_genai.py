"""The provider of google-genai passes the whole contract, talking to the loopback server."""

from __future__ import annotations

import importlib.util
from contextlib import ExitStack

import pytest
from django.test import SimpleTestCase

from django_obc_ai.backends.providers.base import BaseProvider
from django_obc_ai.testing import ProviderContract
from tests.servers.gemini import replies, run_gemini

if importlib.util.find_spec("google.genai") is None:
    pytest.skip("google-genai is not installed", allow_module_level=True)

from django_obc_ai.backends.providers.google_genai import GoogleGenAIProvider


class GoogleGenAIProviderTests(ProviderContract, SimpleTestCase):
    def setUp(self) -> None:
        stack = ExitStack()
        self.addCleanup(stack.close)
        self.server = stack.enter_context(run_gemini())

    def _make(self, url: str) -> BaseProvider:
        provider = GoogleGenAIProvider(
            api_key=self.server.key, model="gemini-2.5-flash", base_url=url
        )
        self.addCleanup(provider.close)
        return provider

    def make_provider(self) -> BaseProvider:
        return self._make(self.server.url)

    def make_failing_provider(self) -> BaseProvider:
        failing = ExitStack()
        self.addCleanup(failing.close)
        server = failing.enter_context(run_gemini())
        server.script(replies.error(500), is_repeated=True)
        return self._make(server.url)
