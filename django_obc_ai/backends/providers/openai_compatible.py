"""Any service that speaks OpenAI's protocol: OpenAI, OpenRouter, vLLM, Ollama and others."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django_obc_ai.backends.providers import _openai as wire
from django_obc_ai.backends.providers._network import (
    Deadline,
    PerProcess,
    connection_limits,
    httpx_hooks,
    make_async_client,
    translate_network_error,
    within,
)
from django_obc_ai.backends.providers._options import (
    check_output_tokens,
    check_seconds,
    check_temperature,
    check_url,
)
from django_obc_ai.backends.providers._sockets import bind_client
from django_obc_ai.backends.providers._streams import StreamReader
from django_obc_ai.backends.providers._vectors import check_texts, unit_rows
from django_obc_ai.backends.providers.base import DEFAULT_MAX_OUTPUT_TOKENS, BaseProvider
from django_obc_ai.exceptions import (
    ConfigurationError,
    InvalidRequestError,
    ModelNotFoundError,
    ProviderError,
)
from django_obc_ai.types import (
    EmbeddingRequest,
    EmbeddingResponse,
    GenerationRequest,
    ProviderResponse,
    StreamChunk,
)

DEFAULT_BASE_URL = "https://api.openai.com/v1"
MAX_TOKENS_PARAMETERS = ("max_completion_tokens", "max_tokens")
#: Servers wrap a conversation into a template of their own, some with a system prompt.
_TEMPLATE_TOKENS = 256


@dataclass(frozen=True, slots=True)
class _Clients:
    """The SDK's clients of one process."""

    sync: Any  # Any here and below: objects of an optional package
    aio: Any


class OpenAICompatibleProvider(BaseProvider):
    """Chat completions and embeddings over OpenAI's protocol, by OpenAI's own package.

    One call is one request: the package's retries are off. Keys, organisations and addresses
    in the environment are not taken; all that counts stands in the options.
    """

    extra = "openai"
    sdk_module = "openai"
    requires_api_key = True
    telemetry_name = "openai"
    supports_schema = True
    supports_streaming = True
    supports_embedding = True
    ping_meaning = "The service lists the model; some do so without looking at the key."

    def __init__(
        self,
        *,
        api_key: str = "",
        model: str = "",
        base_url: str = DEFAULT_BASE_URL,
        timeout_seconds: float = 30,
        deadline_seconds: float = 60,
        max_output_tokens: int = DEFAULT_MAX_OUTPUT_TOKENS,
        temperature: float | None = None,
        is_local: bool = False,
        max_tokens_parameter: str = "max_completion_tokens",
    ) -> None:
        """Check the options; nothing is imported or connected before the first call.

        Args:
            api_key: The service's key; read it from the environment. A local server needs none.
            model: Asked for when a call names none.
            base_url: Where the API is, with its version: "http://localhost:11434/v1".
            timeout_seconds: For connecting, and for each wait for data.
            deadline_seconds: For one whole attempt, however slowly the answer comes in.
            max_output_tokens: Upper bound of an answer, thinking included.
            temperature: 0 to 2; None leaves it to the model.
            is_local: Declare that the model runs on hardware of your own: calls cost 0, and
                no key is needed.
            max_tokens_parameter: What the service calls the upper bound: OpenAI
                "max_completion_tokens", many others "max_tokens".

        Raises:
            ValueError: An option is out of its range; the message names it.
        """
        check_seconds(timeout_seconds=timeout_seconds, deadline_seconds=deadline_seconds)
        check_output_tokens(max_output_tokens, ValueError)
        check_temperature(temperature, ValueError)
        check_url(base_url)
        if max_tokens_parameter not in MAX_TOKENS_PARAMETERS:
            valid = " or ".join(map(repr, MAX_TOKENS_PARAMETERS))
            raise ValueError(f"max_tokens_parameter must be {valid}")
        if not isinstance(is_local, bool):
            raise ValueError("is_local must be True or False")  # noqa: TRY004 - see the handler
        self.model = model
        self.base_url = base_url.rstrip("/")
        self.timeout_seconds = timeout_seconds
        self.deadline_seconds = deadline_seconds
        self.max_output_tokens = max_output_tokens
        self.temperature = temperature
        self.max_tokens_parameter = max_tokens_parameter
        self._api_key = api_key
        # Facts of a class for other providers; here they follow from an option.
        object.__setattr__(self, "is_free", is_local)
        object.__setattr__(self, "requires_api_key", not is_local)
        self._clients = PerProcess(self._make_clients)

    def get_ready(self) -> None:
        """See BaseProvider.get_ready()."""
        self._clients.get()

    def generate(self, request: GenerationRequest) -> ProviderResponse:
        """Send the request once; see `BaseProvider.generate`."""
        arguments = self._arguments(request)
        client = self._clients.get().sync
        with _translated(), Deadline(self.deadline_seconds).applied():
            raw = client.chat.completions.with_raw_response.create(**arguments)
        return wire.read_answer(_json_of(raw))

    async def agenerate(self, request: GenerationRequest) -> ProviderResponse:
        """See generate(). Native: no thread is used."""
        arguments = self._arguments(request)
        client = self._clients.get().aio
        with _translated():
            async with within(Deadline(self.deadline_seconds)):
                raw = await client.chat.completions.with_raw_response.create(**arguments)
        return wire.read_answer(_json_of(raw))

    def stream(self, request: GenerationRequest) -> Iterator[StreamChunk]:
        """Yield the answer in pieces; see `BaseProvider.stream`."""
        arguments = self._arguments(request) | _STREAMED
        client = self._clients.get().sync
        reader = StreamReader(wire.read_piece, _translated)
        deadline = Deadline(self.deadline_seconds)
        with reader.translating(), deadline.applied():
            pieces = client.chat.completions.create(**arguments)
        try:
            while True:
                with reader.translating():
                    piece = next(pieces, None)
                if piece is None:
                    break
                yield reader.read(_wire(piece))
        finally:
            pieces.close()
        yield reader.finish()

    async def astream(self, request: GenerationRequest) -> AsyncIterator[StreamChunk]:
        """See stream(). Native: no thread is used."""
        arguments = self._arguments(request) | _STREAMED
        client = self._clients.get().aio
        reader = StreamReader(wire.read_piece, _translated)
        deadline = Deadline(self.deadline_seconds)
        with reader.translating():
            async with within(deadline):
                pieces = await client.chat.completions.create(**arguments)
        try:
            while True:
                with reader.translating():
                    async with within(deadline):
                        piece = await anext(pieces, None)
                if piece is None:
                    break
                yield reader.read(_wire(piece))
        finally:
            await pieces.close()
        yield reader.finish()

    def count_tokens(self, request: GenerationRequest) -> int:
        """Return an upper bound: the protocol has no way to ask for a count."""
        return self.bound_tokens(request)

    def bound_tokens(self, request: GenerationRequest) -> int:
        """See `BaseProvider.bound_tokens`; a server's own template is allowed for."""
        return super().bound_tokens(request) + _TEMPLATE_TOKENS

    def embed(self, request: EmbeddingRequest) -> EmbeddingResponse:
        """Turn texts into unit vectors with one request."""
        check_texts(request, self.embedding_batch_size)
        arguments: dict[str, Any] = {
            "model": self._model_of(request),
            "input": list(request.texts),
            "encoding_format": "float",
        }
        if request.dimension is not None:
            arguments["dimensions"] = request.dimension
        client = self._clients.get().sync
        with _translated(), Deadline(self.deadline_seconds).applied():
            raw = client.embeddings.with_raw_response.create(**arguments)
        rows, usage, model = wire.read_embeddings(_json_of(raw), len(request.texts))
        return EmbeddingResponse(
            vectors=unit_rows(rows, request, usage), usage=usage, model=model or request.model
        )

    def ping(self) -> bool:
        """Ask for the list of models, which is free of charge.

        Raises:
            ModelNotFoundError: The list does not hold the configured model.
        """
        client = self._clients.get().sync
        with _translated(), Deadline(self.deadline_seconds).applied():
            raw = client.models.with_raw_response.list()
        names = {str(each.get("id")) for each in _json_of(raw).get("data") or ()}
        # Ollama lists "name:latest" for what is asked for as "name".
        if self.model and names.isdisjoint({self.model, f"{self.model}:latest"}):
            raise ModelNotFoundError(
                "The service does not list the model. Check OPTIONS['model'], or load it first."
            )
        return True

    def close(self) -> None:
        """Close this process's connections; the next call opens new ones."""
        clients = self._clients.pop()
        if clients is not None:
            clients.sync.close()

    def _make_clients(self) -> _Clients:
        if self.requires_api_key and not self._api_key:
            raise ConfigurationError(
                "The OpenAI-compatible provider has no API key.",
                hint="Set OPTIONS['api_key'] from the environment, or is_local for a server of"
                " your own.",
                check_id="E006",
            )
        sdk = self.import_sdk()
        # openai 2 stands on httpx, openai 3 on httpx2.
        bases = [each for each in sdk.DefaultHttpxClient.__mro__ if each.__name__ == "Client"]
        httpx = self.import_sdk(bases[0].__module__.partition(".")[0])
        context = httpx.create_ssl_context()  # once: it takes longer than all the rest
        options: dict[str, Any] = {
            "api_key": self._api_key or "none",
            "base_url": self.base_url,
            "max_retries": 0,
            "timeout": self.timeout_seconds,
        }
        shared = {"verify": context, "limits": connection_limits(httpx)}
        sync = httpx.Client(**shared, event_hooks=httpx_hooks(), timeout=self.timeout_seconds)
        clients = _Clients(
            sync=sdk.OpenAI(**options, http_client=bind_client(sync)),
            aio=sdk.AsyncOpenAI(**options, http_client=make_async_client(httpx, verify=context)),
        )
        for each in (clients.sync, clients.aio):
            # Whatever the environment says; for headers the package has no public way.
            each.organization = each.project = None
            each._custom_headers = {}
        return clients

    def _model_of(self, request: GenerationRequest | EmbeddingRequest) -> str:
        model = request.model or self.model
        if not model:
            raise ConfigurationError(
                "The OpenAI-compatible provider is asked for no model.",
                hint="Set OPTIONS['model'].",
            )
        return model

    def _arguments(self, request: GenerationRequest) -> dict[str, Any]:
        """Return the keyword arguments of the SDK's chat.completions.create()."""
        if not request.prompt.strip():
            raise InvalidRequestError("The prompt is empty.")
        check_output_tokens(self.bound_output_tokens(request), InvalidRequestError)
        check_temperature(request.temperature, InvalidRequestError)
        turns = [("system", request.system)] if request.system else []
        turns += [(each.role, each.text) for each in request.history]
        turns.append(("user", request.render_prompt()))
        arguments: dict[str, Any] = {
            "model": self._model_of(request),
            "messages": [{"role": role, "content": text} for role, text in turns],
            self.max_tokens_parameter: self.bound_output_tokens(request),
        }
        temperature = self.temperature if request.temperature is None else request.temperature
        if temperature is not None:
            arguments["temperature"] = temperature
        if request.response_schema is not None:
            arguments["response_format"] = wire.response_format(request.response_schema)
        return arguments


_STREAMED = {"stream": True, "stream_options": {"include_usage": True}}


def _json_of(raw: Any) -> dict[str, Any]:
    """Return the JSON of a response; the SDK would take a text for an answer."""
    try:
        found = json.loads(raw.content)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise wire.unreadable()
    if isinstance(found.get("error"), dict):  # OpenRouter sends some with status 200
        raise wire.billed_error_of(found)
    return found


def _wire(piece: Any) -> dict[str, Any]:
    """Return a piece of a stream as it was sent."""
    found: dict[str, Any] = piece.model_dump(mode="json", warnings=False)
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
    if type(error).__module__.partition(".")[0] == "openai":
        status = getattr(error, "status_code", None)
        if status is not None:
            return wire.error_of(status, error.body, error.response.headers)  # type: ignore[attr-defined]  # of the SDK's APIStatusError
        cause = error.__cause__
        if cause is not None:
            return translate_network_error(cause) or wire.unreadable()
        return wire.error_of(0, getattr(error, "body", None), {})  # in mid stream
    found = translate_network_error(error)
    if found is None and isinstance(error, ValueError):
        return wire.unreadable()
    return found
