"""The provider that stands before a real one while a test has a cassette."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, TypeVar, cast

from django.utils.module_loading import import_string

from django_obc_ai.backends.providers.base import BaseProvider
from django_obc_ai.exceptions import ProviderError
from django_obc_ai.testing import _recordings as recordings
from django_obc_ai.testing.cassettes import Cassette, CassetteError
from django_obc_ai.types import (
    EmbeddingRequest,
    EmbeddingResponse,
    GenerationRequest,
    ProviderResponse,
    StreamChunk,
)

_Answer = TypeVar("_Answer", ProviderResponse, EmbeddingResponse)
#: What a class of providers declares, and callers read.
_FLAGS = (
    "is_free", "supports_schema", "supports_streaming", "supports_embedding", "ping_meaning",
    "embedding_batch_size", "telemetry_name", "generation_options",
)  # fmt: skip


class CassetteProvider(BaseProvider):
    """Answers from a cassette, and asks the provider behind it only to record.

    The provider behind it is built, which costs nothing, so that bounds and flags are its own. Its
    SDK and its key are needed for recording alone.
    """

    def __init__(self, *, cassette: Cassette, alias: str, recorded: Mapping[str, Any]) -> None:
        """Build the provider that is recorded.

        Args:
            cassette: Started already.
            alias: Of the provider in ``OBC_AI["PROVIDERS"]``.
            recorded: Its entry there.
        """
        self._cassette = cassette
        self._alias = alias
        backend = import_string(recorded["BACKEND"])
        self.recorded: BaseProvider = backend(**recorded.get("OPTIONS", {}))
        for name in _FLAGS:  # a class declares these once for all; this one stands for many
            object.__setattr__(self, name, getattr(self.recorded, name))
        self.model = self.recorded.model
        self.max_output_tokens = self.recorded.max_output_tokens

    def get_ready(self) -> None:
        """See BaseProvider.get_ready(); a replay needs no SDK."""
        if self._cassette.is_recording:
            self.recorded.get_ready()

    def generate(self, request: GenerationRequest) -> ProviderResponse:
        """See BaseProvider.generate()."""
        call = _Call(self, "generate", request)
        if (found := call.find()) is not None:
            return cast("ProviderResponse", call.replayed(found))
        try:
            return call.kept(self.recorded.generate(request))
        except ProviderError as error:
            call.keep(error=error)
            raise

    async def agenerate(self, request: GenerationRequest) -> ProviderResponse:
        """See BaseProvider.agenerate(); the same recordings as generate()."""
        call = _Call(self, "generate", request)
        if (found := call.find()) is not None:
            return cast("ProviderResponse", call.replayed(found))
        try:
            return call.kept(await self.recorded.agenerate(request))
        except ProviderError as error:
            call.keep(error=error)
            raise

    def stream(self, request: GenerationRequest) -> Iterator[StreamChunk]:
        """See BaseProvider.stream(). A stream that is closed early is kept as far as it went."""
        call = _Call(self, "stream", request)
        if (found := call.find()) is not None:
            yield from call.pieces(found)
            return
        source = self.recorded.stream(request)
        try:
            for chunk in source:
                call.chunks.append(chunk)
                yield chunk
        except ProviderError as error:
            call.keep(error=error)
            raise
        except GeneratorExit:
            getattr(source, "close", lambda: None)()
            call.keep(is_closed_early=True)
            raise
        call.keep()

    async def astream(self, request: GenerationRequest) -> AsyncIterator[StreamChunk]:
        """See BaseProvider.astream(); the same recordings as stream()."""
        call = _Call(self, "stream", request)
        if (found := call.find()) is not None:
            for chunk in call.pieces(found):
                yield chunk
            return
        source = self.recorded.astream(request)
        try:
            async for chunk in source:
                call.chunks.append(chunk)
                yield chunk
        except ProviderError as error:
            call.keep(error=error)
            raise
        except GeneratorExit:
            close = getattr(source, "aclose", None)
            if close is not None:
                await close()
            call.keep(is_closed_early=True)
            raise
        call.keep()

    def embed(self, request: EmbeddingRequest) -> EmbeddingResponse:
        """See BaseProvider.embed()."""
        call = _Call(self, "embed", request)
        if (found := call.find()) is not None:
            return cast("EmbeddingResponse", call.replayed(found))
        try:
            return call.kept(self.recorded.embed(request))
        except ProviderError as error:
            call.keep(error=error)
            raise

    def count_tokens(self, request: GenerationRequest) -> int:
        """See BaseProvider.count_tokens(); some providers ask their service."""
        call = _Call(self, "count_tokens", request)
        if (found := call.find()) is not None:
            call.raise_error(found)
            return int(found["tokens"])
        try:
            tokens = self.recorded.count_tokens(request)
        except ProviderError as error:
            call.keep(error=error)
            raise
        call.keep(tokens=tokens)
        return tokens

    def bound_tokens(self, request: GenerationRequest) -> int:
        """See BaseProvider.bound_tokens()."""
        return self.recorded.bound_tokens(request)

    def bound_output_tokens(self, request: GenerationRequest) -> int:
        """See BaseProvider.bound_output_tokens()."""
        return self.recorded.bound_output_tokens(request)

    def ping(self) -> bool:
        """See BaseProvider.ping(); without recording nobody is asked."""
        return self._cassette.is_recording and self.recorded.ping()

    def close(self) -> None:
        """See BaseBackend.close()."""
        self.recorded.close()


class _Call:
    """One call between a test and the cassette."""

    def __init__(
        self, provider: CassetteProvider, kind: str, request: GenerationRequest | EmbeddingRequest
    ) -> None:
        self._cassette = provider._cassette
        written = recordings.write_request(request, provider.model)
        self._asked = (provider._alias, kind, written)
        self.chunks: list[StreamChunk] = []

    def find(self) -> dict[str, Any] | None:
        return self._cassette.find(*self._asked)

    def kept(self, answer: _Answer) -> _Answer:
        self.keep(response=recordings.write_response(answer))
        return answer

    def keep(self, *, error: ProviderError | None = None, **outcome: Any) -> None:
        if self._asked[1] == "stream":
            outcome["pieces"] = recordings.write_chunks(self.chunks)
        if error is not None:
            outcome["error"] = recordings.write_error(error)
        self._cassette.keep(*self._asked, outcome)

    def replayed(self, found: dict[str, Any]) -> ProviderResponse | EmbeddingResponse:
        self.raise_error(found)
        with _reading(self._cassette):
            return recordings.read_response(found["response"])

    def pieces(self, found: dict[str, Any]) -> Iterator[StreamChunk]:
        with _reading(self._cassette):
            chunks = [recordings.read_chunk(each) for each in found["pieces"]]
        yield from chunks
        self.raise_error(found)
        if found.get("is_closed_early"):
            raise CassetteError(
                f"A stream on the cassette {self._cassette.path} was closed by its reader before"
                " its end when it was recorded, and is read further now. Record it anew."
            )

    def raise_error(self, found: dict[str, Any]) -> None:
        if "error" in found:
            with _reading(self._cassette):
                error = recordings.read_error(found["error"])
            raise error


class _reading:  # noqa: N801 - used like contextlib.suppress
    """Tell of a recording that somebody has edited into something else."""

    def __init__(self, cassette: Cassette) -> None:
        self._cassette = cassette

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, (KeyError, TypeError, ValueError)):
            raise CassetteError(
                f"The cassette {self._cassette.path} holds a recording that cannot be read. Delete"
                " it and record it anew."
            ) from None
