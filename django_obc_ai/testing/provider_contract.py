"""Contract suite: what every provider must do.

Mix it into a ``unittest.TestCase`` (or a Django one) and say how to make the provider::

    class MyProviderTests(ProviderContract, SimpleTestCase):
        def make_provider(self):
            return MyProvider(api_key="test", base_url=self.server.url)
"""

from __future__ import annotations

import asyncio
import json
import pickle
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, ClassVar
from unittest import mock

from django_obc_ai.backends.providers.base import BaseProvider
from django_obc_ai.exceptions import ObcAIError
from django_obc_ai.testing.embedding_contract import EmbeddingContract
from django_obc_ai.types import (
    GenerationRequest,
    Message,
    ProviderResponse,
    Source,
    StreamChunk,
    Usage,
)

_THREADS = 8
_MARK = "Kalilintad-4711"
_FINISH_REASONS = ("stop", "length", "blocked", "interrupted", "other")
_SOURCES = (
    Source(title="Poblacion, Malabang", text="Barangay Poblacion lies on the coast of Illana Bay."),
    Source(text="Ang Barangay Niño ay may 1,234 na mamamayan. مرحبا بكم. 🌾 ₱5.00"),
)
_SCHEMA = {
    "type": "object",
    "properties": {
        "summary": {"type": "string"},
        "setting": {"type": "string", "enum": ["coastal", "inland"]},
        "population": {"type": "integer"},
        "is_urban": {"type": "boolean"},
        "places": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["summary", "setting", "population", "is_urban", "places"],
}
_JSON_TYPES = {"string": str, "integer": int, "boolean": bool, "array": list}
_REFUSABLE: tuple[dict[str, Any], ...] = (
    {"prompt": ""},
    {"prompt": f"{_MARK} coast", "max_output_tokens": 0},
    {"prompt": f"{_MARK} coast", "response_schema": {"type": "no-such-type"}},
    {"prompt": f"{_MARK} coast", "model": "no-such-model"},
)


class ProviderContract(EmbeddingContract):
    """What every provider must do.

    Attributes:
        answers_repeat: Whether the same request gets the same answer; set it to False
            for a suite that talks to a live model.
    """

    answers_repeat: ClassVar[bool] = True

    def make_failing_provider(self) -> BaseProvider | None:
        """Return a provider whose calls fail, or None if failures cannot be arranged."""
        return None

    def _request(self, prompt: str = "Where is the coast?", **fields: Any) -> GenerationRequest:
        # Any: the fields of GenerationRequest.
        return GenerationRequest(prompt=prompt, sources=_SOURCES, **fields)

    def _generate(self, **fields: Any) -> ProviderResponse:
        # Any: as above.
        return self.make_provider().generate(self._request(**fields))

    def _check_usage(self, usage: Usage | None) -> None:
        assert usage is not None, "the usage is missing"
        counts = (
            usage.input_tokens,
            usage.cached_tokens,
            usage.output_tokens,
            usage.thinking_tokens,
            usage.tool_tokens,
        )
        for count in counts:
            self.assertIsInstance(count, int)
            self.assertGreaterEqual(count, 0)
        self.assertLessEqual(usage.cached_tokens, usage.input_tokens)

    def _check_stream(self, chunks: Sequence[StreamChunk]) -> str:
        self.assertTrue(chunks, "the stream is empty")
        *earlier, last = chunks
        self.assertEqual({chunk.finish_reason for chunk in earlier} - {None}, set())
        self.assertIn(last.finish_reason, _FINISH_REASONS)
        self._check_usage(last.usage)
        self.assertTrue(any(chunk.model for chunk in chunks), "no chunk names the model")
        return "".join(chunk.text for chunk in chunks)

    def test_flags_are_of_the_declared_types(self) -> None:
        provider = self.make_provider()
        for name in (
            "is_free",
            "is_offline",
            "requires_api_key",
            "supports_schema",
            "supports_streaming",
            "supports_embedding",
        ):
            self.assertIsInstance(getattr(provider, name), bool, name)
        self.assertIsInstance(provider.generation_options, frozenset)
        self.assertGreater(provider.max_output_tokens, 0)

    def test_generate_returns_text_usage_and_model(self) -> None:
        response = self._generate()
        self.assertTrue(response.text.strip())
        self.assertTrue(response.model)
        self.assertIn(response.finish_reason, _FINISH_REASONS)
        self._check_usage(response.usage)

    def test_a_stream_joins_to_a_finished_answer(self) -> None:
        provider = self.make_provider()
        chunks = list(provider.stream(self._request()))
        text = self._check_stream(chunks)
        self.assertTrue(text.strip())
        if provider.supports_streaming:
            self.assertGreater(sum(bool(chunk.text) for chunk in chunks), 1)
        if self.answers_repeat:
            self.assertEqual(text, self._generate().text)

    def test_a_stream_can_be_closed_early(self) -> None:
        provider = self.make_provider()
        stream = provider.stream(self._request())
        next(stream)
        close = getattr(stream, "close", None)
        if close is not None:
            close()
        self.assertTrue(provider.generate(self._request()).text)

    def test_the_async_twin_of_generate_agrees(self) -> None:
        response = asyncio.run(self.make_provider().agenerate(self._request()))
        self._check_usage(response.usage)
        self.assertTrue(response.text.strip())
        if self.answers_repeat:
            self.assertEqual(response, self._generate())

    def test_the_async_twin_of_stream_agrees(self) -> None:
        async def collect() -> list[StreamChunk]:
            return [chunk async for chunk in self.make_provider().astream(self._request())]

        text = self._check_stream(asyncio.run(collect()))
        if self.answers_repeat:
            self.assertEqual(text, self._generate().text)

    def test_an_async_stream_can_be_closed_early(self) -> None:
        provider = self.make_provider()

        async def start_and_close() -> None:
            stream = provider.astream(self._request())
            await anext(stream)
            close = getattr(stream, "aclose", None)
            if close is not None:
                await close()

        asyncio.run(start_and_close())
        self.assertTrue(provider.generate(self._request()).text)

    def test_tokens_are_positive_and_below_their_bound(self) -> None:
        provider = self.make_provider()
        history = (Message(role="user", text="Niño?"), Message(role="assistant", text="مرحبا"))
        requests = [
            GenerationRequest(prompt="Hello"),
            GenerationRequest(prompt="🌾" * 50, system="Sagutin sa Filipino."),
            self._request(history=history, system="!?" * 100),
        ]
        if provider.supports_schema:
            requests.append(self._request(response_schema=_SCHEMA))
        for request in requests:
            count = provider.count_tokens(request)
            self.assertIsInstance(count, int)
            self.assertGreater(count, 0)
            self.assertLessEqual(count, provider.bound_tokens(request))

    def test_an_answer_stays_within_its_token_bound(self) -> None:
        full = self._generate()
        response = self._generate(max_output_tokens=5)
        usage = response.usage or Usage()  # a provider that reports none is booked otherwise
        used = usage.output_tokens + usage.thinking_tokens
        self.assertLessEqual(used, 5)
        if self.answers_repeat and response.text != full.text:
            self.assertEqual(response.finish_reason, "length")

    def test_a_schema_is_answered_with_its_json(self) -> None:
        provider = self.make_provider()
        if not provider.supports_schema:
            self.skipTest("the provider does not support schemas")
        answer = json.loads(provider.generate(self._request(response_schema=_SCHEMA)).text)
        self.assertIsInstance(answer, dict)
        properties: dict[str, Any] = _SCHEMA["properties"]  # type: ignore[assignment]  # Any: JSON
        for name in _SCHEMA["required"]:
            self.assertIn(name, answer)
            wanted = properties[name]["type"]
            self.assertIsInstance(answer[name], _JSON_TYPES[wanted], name)
            self.assertEqual(isinstance(answer[name], bool), wanted == "boolean", name)
        self.assertIn(answer["setting"], properties["setting"]["enum"])
        for place in answer["places"]:
            self.assertIsInstance(place, str)

    def test_text_in_any_script_survives(self) -> None:
        for prompt in ("Nasaan ang Barangay Niño?", "أين بارانغاي؟", "🌾 1,234?", "馬拉邦在哪裡？"):  # noqa: RUF001 - as typed
            text = self._generate(prompt=prompt).text
            self.assertEqual(text.encode().decode(), text)
            self.assertNotIn("\ufffd", text)

    def test_an_empty_prompt_is_answered_or_refused_with_a_typed_error(self) -> None:
        for prompt in ("", " \n"):
            try:
                response = self.make_provider().generate(GenerationRequest(prompt=prompt))
            except ObcAIError:
                continue
            self._check_usage(response.usage)

    def test_many_threads_share_one_provider(self) -> None:
        provider = self.make_provider()
        prompts = [f"Where is the coast of place {number}?" for number in range(_THREADS * 4)]
        barrier = threading.Barrier(_THREADS)

        def work(thread: int) -> dict[str, str]:
            barrier.wait(timeout=30)
            mine = prompts[thread::_THREADS]
            return {each: provider.generate(self._request(prompt=each)).text for each in mine}

        with ThreadPoolExecutor(_THREADS) as pool:
            answers = {k: v for found in pool.map(work, range(_THREADS)) for k, v in found.items()}
        self.assertEqual(set(answers), set(prompts))
        for prompt, text in answers.items():
            self.assertTrue(text)
            if self.answers_repeat:
                self.assertEqual(text, self._generate(prompt=prompt).text)

    def _collect_errors(self) -> list[ObcAIError]:
        """Return the errors of bad requests and of a provider that fails.

        Anything but an `ObcAIError` fails the test that asks.
        """
        cases = [(self.make_provider(), fields) for fields in _REFUSABLE]
        failing = self.make_failing_provider()
        if failing is not None:
            cases.append((failing, {"prompt": f"{_MARK} coast"}))
        found = []
        for provider, fields in cases:
            request = GenerationRequest(
                system=f"About {_MARK}", sources=(Source(text=f"{_MARK} lies here."),), **fields
            )
            for attempt in (provider.generate, lambda r, p=provider: list(p.stream(r))):
                try:
                    attempt(request)
                except ObcAIError as error:
                    found.append(error)
        if failing is not None:
            self.assertTrue(found, "make_failing_provider() made a provider that does not fail")
        return found

    def test_errors_hold_no_text_of_the_request(self) -> None:
        for error in self._collect_errors():
            for shown in (str(error), repr(error), repr(error.args)):
                self.assertNotIn(_MARK, shown)

    def test_errors_survive_pickling(self) -> None:
        for error in self._collect_errors():
            # The bytes were made two lines above; nothing foreign is loaded.
            copy = pickle.loads(pickle.dumps(error))  # noqa: S301
            self.assertIs(type(copy), type(error))
            self.assertEqual(str(copy), str(error))
            for name in ("code", "retryable", "retry_after_seconds", "usage"):
                self.assertEqual(getattr(copy, name), getattr(error, name), name)

    def test_errors_are_not_chained_to_text_of_the_request(self) -> None:
        for error in self._collect_errors():
            for shown in _shown_with(error):
                self.assertNotIn(_MARK, str(shown))
                self.assertNotIn(_MARK, repr(shown))

    def test_a_closed_provider_answers_again(self) -> None:
        provider = self.make_provider()
        self.assertTrue(provider.generate(self._request()).text)
        provider.close()
        self.assertTrue(provider.generate(self._request()).text)
        provider.close()

    def test_a_ping_says_whether_it_could_ask(self) -> None:
        self.assertIsInstance(self.make_provider().ping(), bool)

    def test_construction_is_cheap(self) -> None:
        loaded = set(sys.modules)
        with ExitStack() as stack:
            for target in (
                "builtins.open",
                "socket.getaddrinfo",
                "socket.socket.connect",
                "subprocess.Popen",
            ):
                reason = AssertionError(f"the constructor calls {target}")
                stack.enter_context(mock.patch(target, side_effect=reason))
            provider = self.make_provider()
        if provider.sdk_module and provider.sdk_module not in loaded:
            self.assertNotIn(provider.sdk_module, sys.modules)


def _shown_with(error: BaseException) -> Iterator[BaseException]:
    """Yield what a traceback shows: an error and those it is chained to."""
    shown: BaseException | None = error
    while shown is not None:
        yield shown
        shown = shown.__cause__ or (None if shown.__suppress_context__ else shown.__context__)
