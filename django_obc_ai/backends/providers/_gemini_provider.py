"""What both SDKs of the Gemini API share: the options, and what is refused before it is sent."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from django_obc_ai.backends.providers._network import PerProcess
from django_obc_ai.backends.providers._options import (
    check_output_tokens,
    check_seconds,
    check_temperature,
    check_url,
    is_number,
)
from django_obc_ai.backends.providers.base import DEFAULT_MAX_OUTPUT_TOKENS, BaseProvider
from django_obc_ai.exceptions import ConfigurationError, InvalidRequestError
from django_obc_ai.types import EmbeddingRequest, GenerationRequest

DEFAULT_BASE_URL = "https://generativelanguage.googleapis.com"
HARM_CATEGORIES = (
    "HARM_CATEGORY_HARASSMENT",
    "HARM_CATEGORY_HATE_SPEECH",
    "HARM_CATEGORY_SEXUALLY_EXPLICIT",
    "HARM_CATEGORY_DANGEROUS_CONTENT",
    "HARM_CATEGORY_CIVIC_INTEGRITY",
)
HARM_THRESHOLDS = (
    "OFF",
    "BLOCK_NONE",
    "BLOCK_ONLY_HIGH",
    "BLOCK_MEDIUM_AND_ABOVE",
    "BLOCK_LOW_AND_ABOVE",
)


class GeminiProvider(BaseProvider):
    """Base class of the providers of both SDKs."""

    requires_api_key = True
    telemetry_name = "gcp.gemini"
    supports_schema = True
    supports_streaming = True
    supports_embedding = True
    embedding_batch_size: ClassVar[int] = 100  # the API refuses more
    generation_options = frozenset({"thinking_budget"})

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
        safety_settings: Mapping[str, str] | None = None,
        thinking_budget: int | None = None,
    ) -> None:
        """Check the options; nothing is imported or connected before the first call.

        Args:
            api_key: A key of Google AI Studio; read it from the environment.
            model: Asked for when a call names none, for example "gemini-2.5-flash".
            base_url: Where the API is, without a version.
            timeout_seconds: For connecting, and for each wait for data. Without streaming
                the model writes its whole answer within one wait.
            deadline_seconds: For one whole attempt, however slowly the answer comes in.
            max_output_tokens: Upper bound of an answer, thinking included.
            temperature: 0 to 2; None leaves it to the model.
            safety_settings: Threshold by harm category, under the API's names.
            thinking_budget: Thinking tokens at most: 0 is none, -1 lets the model choose,
                None leaves it to the model's default.

        Raises:
            ValueError: An option is out of its range; the message names it.
        """
        check_seconds(timeout_seconds=timeout_seconds, deadline_seconds=deadline_seconds)
        check_output_tokens(max_output_tokens, ValueError)
        check_temperature(temperature, ValueError)
        check_url(base_url)
        for category, threshold in (safety_settings or {}).items():
            for name, valid in ((category, HARM_CATEGORIES), (threshold, HARM_THRESHOLDS)):
                if name not in valid:
                    raise ValueError(f"safety_settings takes of these only: {', '.join(valid)}")
        _check_thinking_budget(thinking_budget, ValueError)
        self.model = model
        self.base_url = base_url.rstrip("/")
        self.timeout_seconds = timeout_seconds
        self.deadline_seconds = deadline_seconds
        self.max_output_tokens = max_output_tokens
        self.temperature = temperature
        self.safety_settings = dict(safety_settings or {})
        self.thinking_budget = thinking_budget
        self._api_key = api_key
        self._clients: PerProcess[Any] = PerProcess(self._make_client)  # Any: the SDK's client

    def get_ready(self) -> None:
        """See BaseProvider.get_ready()."""
        self._clients.get()

    @abstractmethod
    def _make_client(self) -> Any:  # Any: as above
        """Build the SDK's client; called once per process, at the first use."""

    def _key(self) -> str:
        if not self._api_key:
            raise ConfigurationError(
                "The Gemini provider has no API key.",
                hint="Set OPTIONS['api_key'] from the environment.",
                check_id="E006",
            )
        return self._api_key

    def _model_of(self, request: GenerationRequest | EmbeddingRequest) -> str:
        """Return the model to ask, without a "models/" prefix."""
        model = request.model or self.model
        if not model:
            raise ConfigurationError(
                "The Gemini provider is asked for no model.",
                hint="Set OPTIONS['model'], for example to 'gemini-2.5-flash'.",
            )
        return model.removeprefix("models/")

    def _check(self, request: GenerationRequest) -> None:
        """Refuse what the API would refuse, with a message that holds none of it.

        Raises:
            InvalidRequestError: The prompt is empty, or a number is out of its range.
        """
        if not request.prompt.strip():
            raise InvalidRequestError("The prompt is empty.")
        check_output_tokens(self.bound_output_tokens(request), InvalidRequestError)
        check_temperature(request.temperature, InvalidRequestError)
        _check_thinking_budget(request.options.get("thinking_budget"), InvalidRequestError)

    def _temperature_of(self, request: GenerationRequest) -> float | None:
        return self.temperature if request.temperature is None else request.temperature

    def _thinking_budget_of(self, request: GenerationRequest) -> int | None:
        budget: int | None = request.options.get("thinking_budget", self.thinking_budget)
        return budget


def _check_thinking_budget(budget: Any, error: type[Exception]) -> None:  # Any: from settings
    if budget is not None and not (is_number(budget, int) and budget >= -1):
        raise error("thinking_budget must be a whole number of -1, 0 or above, or None.")
