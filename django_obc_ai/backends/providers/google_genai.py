"""Google Gemini through google-genai, the SDK that Google supports. Recommended."""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from typing import Any

from django_obc_ai.backends.providers import _gemini as gemini
from django_obc_ai.backends.providers._gemini_provider import GeminiProvider
from django_obc_ai.backends.providers._network import (
    Deadline,
    connection_limits,
    httpx_hooks,
    make_async_client,
    noting_responses,
    translate_network_error,
    within,
)
from django_obc_ai.backends.providers._sockets import bind_client
from django_obc_ai.backends.providers._streams import StreamReader
from django_obc_ai.backends.providers._vectors import check_texts, unit_rows
from django_obc_ai.exceptions import (
    InvalidRequestError,
    ProviderError,
)
from django_obc_ai.types import (
    EmbeddingRequest,
    EmbeddingResponse,
    GenerationRequest,
    ProviderResponse,
    StreamChunk,
)


class GoogleGenAIProvider(GeminiProvider):
    """Gemini over the REST protocol, with native async; see `GeminiProvider` for options.

    The SDK's own retries, automatic function calling and automatic continuation are off:
    one call is one request. Its client is built at the first call, once per process.
    """

    extra = "google-genai"
    sdk_module = "google.genai"

    def generate(self, request: GenerationRequest) -> ProviderResponse:
        """Send the request once; see `BaseProvider.generate`."""
        arguments = self._arguments(request)
        client = self._clients.get()
        with _translated(), Deadline(self.deadline_seconds).applied():
            answer = client.models.generate_content(**arguments)
        return gemini.read_answer(_wire(answer))

    async def agenerate(self, request: GenerationRequest) -> ProviderResponse:
        """See generate(). Native: no thread is used."""
        arguments = self._arguments(request)
        client = self._clients.get()
        with _translated():
            async with within(Deadline(self.deadline_seconds)):
                answer = await client.aio.models.generate_content(**arguments)
        return gemini.read_answer(_wire(answer))

    def stream(self, request: GenerationRequest) -> Iterator[StreamChunk]:
        """Yield the answer in pieces; see `BaseProvider.stream`."""
        arguments = self._arguments(request)
        client = self._clients.get()
        reader = StreamReader(gemini.read_piece, _translated)
        deadline = Deadline(self.deadline_seconds)
        with closing(client.models.generate_content_stream(**arguments)) as pieces:
            while True:
                with reader.translating(), deadline.applied():
                    piece = next(pieces, None)
                if piece is None:
                    break
                yield reader.read(_wire(piece))
        yield reader.finish()

    async def astream(self, request: GenerationRequest) -> AsyncIterator[StreamChunk]:
        """See stream(). Native: no thread is used."""
        arguments = self._arguments(request)
        client = self._clients.get()
        reader = StreamReader(gemini.read_piece, _translated)
        deadline = Deadline(self.deadline_seconds)
        with reader.translating(), noting_responses() as responses:
            async with within(deadline):
                pieces = await client.aio.models.generate_content_stream(**arguments)
        try:
            while True:
                with reader.translating():
                    async with within(deadline):
                        piece = await anext(pieces, None)
                if piece is None:
                    break
                yield reader.read(_wire(piece))
        finally:
            await pieces.aclose()
            for response in responses:
                await response.aclose()
        yield reader.finish()

    def count_tokens(self, request: GenerationRequest) -> int:
        """Ask for the prompt's tokens; free of charge.

        The SDK counts no system instruction, so it is counted as a turn of its own.
        """
        self._check(request)
        contents = self._contents(request)
        if request.system:
            contents.insert(0, {"role": "user", "parts": [{"text": request.system}]})
        client = self._clients.get()
        with _translated(), Deadline(self.deadline_seconds).applied():
            found = client.models.count_tokens(model=self._model_of(request), contents=contents)
        if not found.total_tokens:
            raise gemini.unreadable()
        return int(found.total_tokens)

    def embed(self, request: EmbeddingRequest) -> EmbeddingResponse:
        """Turn at most 100 texts into unit vectors with one request.

        Each text is a content of its own: the SDK merges plain texts into one for
        multimodal models, and returns a single vector.
        """
        check_texts(request, self.embedding_batch_size)
        model = self._model_of(request)
        client = self._clients.get()
        types = self.import_sdk("google.genai.types")
        config: dict[str, Any] = {"task_type": gemini.TASK_TYPES[request.purpose]}
        if request.dimension is not None:
            config["output_dimensionality"] = request.dimension
        with _translated(), Deadline(self.deadline_seconds).applied():
            answer = client.models.embed_content(
                model=model,
                contents=[
                    types.Content(role="user", parts=[types.Part(text=text)])
                    for text in request.texts
                ],
                config=config,
            )
        usage = gemini.embedding_usage_of(_wire(answer).get("usageMetadata"))
        rows = [each.values for each in answer.embeddings or ()]
        return EmbeddingResponse(vectors=unit_rows(rows, request, usage), usage=usage, model=model)

    def ping(self) -> bool:
        """Ask for the model's description, which is free of charge."""
        client = self._clients.get()
        model = self._model_of(GenerationRequest(prompt=""))
        with _translated(), Deadline(self.deadline_seconds).applied():
            client.models.get(model=model)
        return True

    def close(self) -> None:
        """Close this process's client; the next call builds a new one."""
        client = self._clients.pop()
        if client is not None:
            client.close()

    def _make_client(self) -> Any:  # Any: the SDK's client
        key = self._key()
        genai = self.import_sdk()
        # It warns of each finish reason that is newer than itself; we read those as "other".
        # For the process: catch_warnings() around a call would race with other threads.
        warnings.filterwarnings("ignore", ".* is not a valid", UserWarning, r"google\.genai")
        httpx = self.import_sdk("httpx2")
        context = httpx.create_ssl_context()  # once: it takes longer than all the rest
        client = genai.Client(
            api_key=key,
            vertexai=False,  # whatever GOOGLE_GENAI_USE_VERTEXAI says
            http_options={
                "base_url": self.base_url,
                "api_version": gemini.API_VERSION,
                "timeout": max(1, round(self.timeout_seconds * 1000)),  # milliseconds
                "retry_options": {"attempts": 1},
                "client_args": {
                    "verify": context,
                    "limits": connection_limits(httpx),
                    "event_hooks": httpx_hooks(),
                    "follow_redirects": False,  # the key is for this host
                },
                # Given, so that the SDK never takes aiohttp, which repeats requests by itself.
                "httpx_async_client": make_async_client(httpx, verify=context),
            },
        )
        # The SDK builds it by arguments that hold no network backend.
        bind_client(getattr(client._api_client, "_httpx_client", None))
        return client

    def _contents(self, request: GenerationRequest) -> list[dict[str, Any]]:
        turns = [(gemini.ROLES[each.role], each.text) for each in request.history]
        turns.append(("user", request.render_prompt()))
        return [{"role": role, "parts": [{"text": text}]} for role, text in turns]

    def _arguments(self, request: GenerationRequest) -> dict[str, Any]:
        """Return the keyword arguments of the SDK's generate_content()."""
        self._check(request)
        config: dict[str, Any] = {
            "max_output_tokens": self.bound_output_tokens(request),
            "automatic_function_calling": {"disable": True},
            "automatic_continuation": False,
        }
        if request.system:
            config["system_instruction"] = request.system
        temperature = self._temperature_of(request)
        if temperature is not None:
            config["temperature"] = temperature
        budget = self._thinking_budget_of(request)
        if budget is not None:
            config["thinking_config"] = {"thinking_budget": budget}
        if self.safety_settings:
            config["safety_settings"] = [
                {"category": category, "threshold": threshold}
                for category, threshold in self.safety_settings.items()
            ]
        if request.response_schema is not None:
            config["response_mime_type"] = "application/json"
            config["response_json_schema"] = dict(request.response_schema)
        types = self.import_sdk("google.genai.types")
        try:
            checked = types.GenerateContentConfig(**config)
        except ValueError:  # pydantic's message quotes the values
            raise InvalidRequestError("The request cannot be expressed to google-genai.") from None
        return {
            "model": self._model_of(request),
            "contents": self._contents(request),
            "config": checked,
        }


def _wire(answer: Any) -> dict[str, Any]:  # Any: a response of the SDK
    """Return an answer under the names of the REST API."""
    found: dict[str, Any] = answer.model_dump(mode="json", by_alias=True, exclude_none=True)
    return found


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
    package = type(error).__module__.partition(".")[0]
    if package == "google" and hasattr(error, "code"):
        return gemini.error_of(int(error.code or 0), getattr(error, "details", None))
    if isinstance(error, ValueError):  # json, pydantic and the SDK's own for broken bodies
        return gemini.unreadable()
    return None
