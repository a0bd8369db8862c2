"""The providers of both Gemini SDKs pass the whole contract, talking to the loopback server."""

from __future__ import annotations

from contextlib import ExitStack

from django.test import SimpleTestCase

from django_obc_ai.backends.providers._gemini_provider import GeminiProvider
from django_obc_ai.backends.providers.base import BaseProvider
from django_obc_ai.backends.providers.google_genai import GoogleGenAIProvider
from django_obc_ai.backends.providers.google_generativeai import GoogleGenerativeAIProvider
from django_obc_ai.testing import ProviderContract
from tests.extras import requires
from tests.servers.gemini import replies, run_gemini


class _GeminiContract(ProviderContract):
    provider_class: type[GeminiProvider]
    embedding_model = "gemini-embedding-001"

    def setUp(self) -> None:
        stack = ExitStack()
        self.addCleanup(stack.close)
        self.server = stack.enter_context(run_gemini())

    def _make(self, url: str) -> BaseProvider:
        provider = self.provider_class(
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


@requires("google.genai")
class GoogleGenAIProviderTests(_GeminiContract, SimpleTestCase):
    provider_class = GoogleGenAIProvider


@requires("google.generativeai")
class GoogleGenerativeAIProviderTests(_GeminiContract, SimpleTestCase):
    provider_class = GoogleGenerativeAIProvider
