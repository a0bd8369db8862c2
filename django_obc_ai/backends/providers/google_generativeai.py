"""Google Gemini through google-generativeai, which Google no longer supports."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

from django_obc_ai.backends.providers import _gemini as gemini
from django_obc_ai.backends.providers._gemini_provider import GeminiProvider
from django_obc_ai.backends.providers._gemini_wire import Call, Wire
from django_obc_ai.backends.providers._network import translate_network_error
from django_obc_ai.backends.providers._streams import StreamReader
from django_obc_ai.backends.providers._vectors import check_texts, unit_rows
from django_obc_ai.exceptions import ProviderError
from django_obc_ai.types import (
    EmbeddingRequest,
    EmbeddingResponse,
    GenerationRequest,
    ProviderResponse,
    StreamChunk,
)

_importing = threading.Lock()


@dataclass(frozen=True, slots=True)
class _Clients:
    """The SDK's clients of one process, and what carries their requests."""

    generative: Any  # Any here and below: objects of an optional package
    models: Any
    wire: Wire


class GoogleGenerativeAIProvider(GeminiProvider):
    """Gemini over the REST protocol; see `GeminiProvider` for the options.

    ``genai.configure`` is global to the process and never called: each provider has clients
    of its own. The SDK's retries are off and one call is one request. What the SDK cannot say
    or read, such as thinking tokens, is added to and taken from the JSON that it sends and
    receives. It has no async REST client: the async methods run in threads.
    """

    extra = "google-generativeai"
    sdk_module = "google.generativeai"
    deprecation: ClassVar[str] = (
        "google-generativeai has been unsupported since 30 November 2025 and keeps the project on"
        " protobuf<6. Use django_obc_ai.backends.providers.google_genai.GoogleGenAIProvider,"
        " which takes the same options."
    )

    def generate(self, request: GenerationRequest) -> ProviderResponse:
        """Send the request once; see `BaseProvider.generate`."""
        message, call = self._prepare(request)
        clients: _Clients = self._clients.get()
        with _translated(), call.made():
            clients.generative.generate_content(message, **self._options)
        return gemini.read_answer(call.answer)

    def stream(self, request: GenerationRequest) -> Iterator[StreamChunk]:
        """Yield the answer in pieces; see `BaseProvider.stream`."""
        message, call = self._prepare(request)
        clients: _Clients = self._clients.get()
        reader = StreamReader(gemini.read_piece, _translated)
        with reader.translating(), call.made():
            messages = clients.generative.stream_generate_content(message, **self._options)
        try:
            while True:
                with reader.translating():
                    if next(messages, None) is None:
                        break
                    piece = call.take_piece()
                yield reader.read(piece)
        finally:
            call.close()
        yield reader.finish()

    def count_tokens(self, request: GenerationRequest) -> int:
        """Ask for the prompt's tokens, the system instruction's included; free of charge."""
        message, call = self._prepare(request)
        question = {"model": message["model"], "generate_content_request": message}
        clients: _Clients = self._clients.get()
        with _translated(), call.made():
            clients.generative.count_tokens(question, **self._options)
        found = call.answer.get("totalTokens")
        if not isinstance(found, int) or found < 1:
            raise gemini.unreadable()
        return found

    def embed(self, request: EmbeddingRequest) -> EmbeddingResponse:
        """Turn at most 100 texts into unit vectors with one request."""
        check_texts(request, self.embedding_batch_size)
        model = self._model_of(request)
        each: dict[str, Any] = {
            "model": f"models/{model}",
            "task_type": gemini.TASK_TYPES[request.purpose],
        }
        if request.dimension is not None:
            each["output_dimensionality"] = request.dimension
        requests = [{**each, "content": _content("user", text)} for text in request.texts]
        call = Call(self.deadline_seconds)
        clients: _Clients = self._clients.get()
        with _translated(), call.made():
            message = {"model": f"models/{model}", "requests": requests}
            clients.generative.batch_embed_contents(message, **self._options)
        usage = gemini.embedding_usage_of(call.answer.get("usageMetadata"))
        rows = [found.get("values") for found in call.answer.get("embeddings") or ()]
        return EmbeddingResponse(vectors=unit_rows(rows, request, usage), usage=usage, model=model)

    def ping(self) -> bool:
        """Ask for the model's description, which is free of charge."""
        model = self._model_of(GenerationRequest(prompt=""))
        call = Call(self.deadline_seconds)
        clients: _Clients = self._clients.get()
        with _translated(), call.made():
            clients.models.get_model({"name": f"models/{model}"}, **self._options)
        return True

    def close(self) -> None:
        """Close this process's connections; the next call opens new ones."""
        clients: _Clients | None = self._clients.pop()
        if clients is not None:
            clients.wire.close()

    @property
    def _options(self) -> dict[str, Any]:
        """Keyword arguments of every call of the SDK: no retry of its own."""
        return {"retry": None, "timeout": self.timeout_seconds}

    def _make_client(self) -> _Clients:
        key = self._key()
        sdk = self._import_quietly("google.generativeai.client")
        # The SDK's own manager of clients; genai.configure would change that of everybody.
        manager = sdk._ClientManager()
        manager.configure(
            api_key=key, transport="rest", client_options={"api_endpoint": self.base_url}
        )
        wire = Wire(self._import_quietly("requests"), key, self.timeout_seconds)
        generative = manager.get_default_client("generative")
        models = manager.get_default_client("model")
        for client in (generative, models):
            wire.replace(client.transport)
        return _Clients(generative, models, wire)

    def _import_quietly(self, module: str) -> Any:
        """Import a module whose import warns of what `deprecation` says already."""
        with _importing, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self.import_sdk(module)

    def _prepare(self, request: GenerationRequest) -> tuple[dict[str, Any], Call]:
        """Return the SDK's message, and the call with the fields that it does not know."""
        self._check(request)
        config: dict[str, Any] = {"max_output_tokens": self.bound_output_tokens(request)}
        temperature = self._temperature_of(request)
        if temperature is not None:
            config["temperature"] = temperature
        message: dict[str, Any] = {
            "model": f"models/{self._model_of(request)}",
            "contents": [
                *(_content(gemini.ROLES[each.role], each.text) for each in request.history),
                _content("user", request.render_prompt()),
            ],
            "generation_config": config,
        }
        if request.system:
            message["system_instruction"] = {"parts": [{"text": request.system}]}
        if self.safety_settings:
            message["safety_settings"] = [
                {"category": category, "threshold": threshold}
                for category, threshold in self.safety_settings.items()
            ]
        unknown: dict[str, Any] = {}
        budget = self._thinking_budget_of(request)
        if budget is not None:
            unknown["thinkingConfig"] = {"thinkingBudget": budget}
        if request.response_schema is not None:
            unknown["responseMimeType"] = "application/json"
            unknown["responseJsonSchema"] = dict(request.response_schema)
        return message, Call(self.deadline_seconds, unknown)


def _content(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"text": text}]}


@contextmanager
def _translated() -> Iterator[None]:
    """Turn errors of the SDK and of its HTTP client into ours; leave all others alone."""
    try:
        yield
    except ProviderError:
        raise
    except Exception as error:
        translated = _translate(error)
        if translated is None:
            raise
        # Not chained: errors of the SDK hold bodies, URLs and headers.
        raise translated from None


def _translate(error: Exception) -> ProviderError | None:
    found = translate_network_error(error)
    if found is not None:
        return found
    if isinstance(error, ValueError) or type(error).__module__.startswith("google."):
        return gemini.unreadable()  # json's, and the SDK's own for broken bodies
    return None
