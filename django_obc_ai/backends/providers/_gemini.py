"""The Gemini API behind both of its SDKs: options, counts, finish reasons and errors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from django_obc_ai.backends.providers.base import DEFAULT_MAX_OUTPUT_TOKENS, BaseProvider
from django_obc_ai.exceptions import (
    AuthenticationError,
    BadResponseError,
    ConfigurationError,
    ContentBlockedError,
    InvalidRequestError,
    ModelNotFoundError,
    ProviderError,
    ProviderTimeoutError,
    QuotaExhaustedError,
    RateLimitError,
    TransientError,
)
from django_obc_ai.types import EmbeddingRequest, FinishReason, GenerationRequest, Usage

DEFAULT_BASE_URL = "https://generativelanguage.googleapis.com"
API_VERSION = "v1beta"
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
TASK_TYPES = {
    "document": "RETRIEVAL_DOCUMENT",
    "query": "RETRIEVAL_QUERY",
    "similarity": "SEMANTIC_SIMILARITY",
}
_BLOCKED = frozenset({
    "SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION",
})  # fmt: skip
_FIELD_PATH = re.compile(r"[A-Za-z]+Request\.([a-z_][\w.\[\]]*)")
_SECONDS = re.compile(r"(\d+(?:\.\d+)?)s")


class GeminiProvider(BaseProvider):
    """What both SDKs share: the options, and how answers and errors are read."""

    requires_api_key = True
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
        for name, value in (
            ("timeout_seconds", timeout_seconds),
            ("deadline_seconds", deadline_seconds),
        ):
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
                raise ValueError(f"{name} must be a number of seconds above 0")
        if not isinstance(max_output_tokens, int) or max_output_tokens < 1:
            raise ValueError("max_output_tokens must be a whole number of at least 1")
        if temperature is not None and not 0 <= temperature <= 2:
            raise ValueError("temperature must lie between 0 and 2")
        if not base_url.startswith(("https://", "http://")):
            raise ValueError("base_url must begin with https:// or http://")
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
        if self.bound_output_tokens(request) < 1:
            raise InvalidRequestError("max_output_tokens must be at least 1.")
        temperature = request.temperature
        if temperature is not None and not 0 <= temperature <= 2:
            raise InvalidRequestError("temperature must lie between 0 and 2.")
        _check_thinking_budget(request.options.get("thinking_budget"), InvalidRequestError)

    def _check_texts(self, request: EmbeddingRequest) -> None:
        """Refuse an embedding request that the API would refuse or misread."""
        count = len(request.texts)
        if not 1 <= count <= self.embedding_batch_size:
            raise InvalidRequestError(
                f"One call embeds 1 to {self.embedding_batch_size} texts, not {count}."
                " Divide them into batches."
            )
        for number, text in enumerate(request.texts):
            if not text.strip():
                raise InvalidRequestError(f"Text {number} of {count} is empty.")

    def _temperature_of(self, request: GenerationRequest) -> float | None:
        return self.temperature if request.temperature is None else request.temperature

    def _thinking_budget_of(self, request: GenerationRequest) -> int | None:
        budget: int | None = request.options.get("thinking_budget", self.thinking_budget)
        return budget


def _check_thinking_budget(budget: Any, error: type[Exception]) -> None:
    if budget is not None and (isinstance(budget, bool) or not isinstance(budget, int)):
        raise error("thinking_budget must be a whole number, or None.")
    if budget is not None and budget < -1:
        raise error("thinking_budget must be -1, 0 or above.")


def finish_reason_of(name: str) -> FinishReason:
    """Return our finish reason for the API's; unknown ones are "other"."""
    if name in _BLOCKED:
        return "blocked"
    return {"STOP": "stop", "MAX_TOKENS": "length"}.get(name, "other")  # type: ignore[return-value]  # the values are finish reasons


def usage_of(metadata: Mapping[str, Any] | None) -> Usage | None:
    """Read a usageMetadata object, with the names of the REST API.

    - None, or no token at all: the provider reported nothing.
    - A count that is missing is 0. Cached tokens are part of the prompt.
    - Tokens that the total has and no count explains are booked as thinking, the dearest
      kind; a total below its parts is ignored. Both make the counts inexact.
    """
    if not metadata:
        return None
    counts = {name: metadata.get(name) or 0 for name in _COUNTS}
    if any(isinstance(n, bool) or not isinstance(n, int) for n in counts.values()):
        return None
    prompt, cached, candidates, thoughts, tool, total = counts.values()
    if not any(counts.values()):
        return None
    unexplained = total - (prompt + candidates + thoughts + tool)
    return Usage(
        input_tokens=prompt,
        cached_tokens=cached,
        output_tokens=candidates,
        thinking_tokens=thoughts + max(0, unexplained),
        tool_tokens=tool,
        audio_tokens=max(
            0,
            _audio_of(metadata.get("promptTokensDetails"))
            - _audio_of(metadata.get("cacheTokensDetails")),
        ),
        is_exact=unexplained == 0,
    ).made_plausible()


_COUNTS = (
    "promptTokenCount",
    "cachedContentTokenCount",
    "candidatesTokenCount",
    "thoughtsTokenCount",
    "toolUsePromptTokenCount",
    "totalTokenCount",
)


def _audio_of(details: Iterable[Mapping[str, Any]] | None) -> int:
    return sum(
        each.get("tokenCount") or 0 for each in details or () if each.get("modality") == "AUDIO"
    )


def embedding_usage_of(metadata: Mapping[str, Any] | None) -> Usage | None:
    """Read the usageMetadata of an embedding; None if it counts nothing."""
    tokens = (metadata or {}).get("promptTokenCount")
    return Usage(input_tokens=tokens) if isinstance(tokens, int) and tokens > 0 else None


def blocked_prompt(reason: str, usage: Usage | None) -> ContentBlockedError:
    """Return the error for a prompt that the API blocked; it bills the prompt."""
    return ContentBlockedError(
        f"Gemini blocked the prompt ({_word(reason)}). Rephrase it, or review safety_settings.",
        usage=usage,
    )


def no_answer(usage: Usage | None) -> BadResponseError:
    """Return the error for an answer of status 200 that has no finished candidate."""
    return BadResponseError("Gemini answered without a finished candidate.", usage=usage)


def unreadable() -> BadResponseError:
    """Return the error for a body that is not the API's JSON."""
    return BadResponseError("Gemini's answer cannot be read: it is not the API's JSON.")


def error_of(status: int, body: Any) -> ProviderError:
    """Return our error for a refusal.

    The API's own message stays out of ours: it may quote the request. Only the status, the
    reason and the path of a field are taken from it.

    Args:
        status: HTTP status.
        body: Parsed JSON, ``{"error": …}`` or a list of one such; anything else if there is
            none.
    """
    if isinstance(body, list):
        body = body[0] if body else None
    error = body.get("error") if isinstance(body, Mapping) else None
    error = error if isinstance(error, Mapping) else {}
    name = _word(str(error.get("status") or ""))
    details = [each for each in error.get("details") or () if isinstance(each, Mapping)]
    reasons = [_word(str(each["reason"])) for each in details if "reason" in each]
    label = " ".join(filter(None, [str(status), name, *reasons]))
    if status in (401, 403) or "API_KEY_INVALID" in reasons:
        return AuthenticationError(
            f"Gemini refused the API key ({label}). Check OPTIONS['api_key'], and whether the key"
            " may use this API and project."
        )
    if status == 404:
        return ModelNotFoundError(
            f"Gemini does not know the model, or not for this use ({label}). Check"
            " OPTIONS['model']."
        )
    if status == 402:
        return QuotaExhaustedError(f"The prepaid credit of this project is used up ({label}).")
    if status == 429:
        return _quota_error(label, details)
    if status in (408, 504):
        return ProviderTimeoutError(
            f"Gemini gave up on the request ({label}).", is_possibly_billed=False
        )
    if status == 499 or (status >= 500 and status != 501):
        return TransientError(f"Gemini failed ({label}).", is_possibly_billed=False)
    path = _FIELD_PATH.search(str(error.get("message") or ""))
    where = f", at {path[1].rstrip('.')}" if path else ""
    if name == "FAILED_PRECONDITION":
        return InvalidRequestError(
            f"Gemini refused the project ({label}): enable billing for it, or ask from a region"
            " that the API serves."
        )
    return InvalidRequestError(f"Gemini refused the request ({label}{where}).")


def _quota_error(label: str, details: list[Mapping[str, Any]]) -> RateLimitError:
    quotas = [
        str(violation.get("quotaId", ""))
        for each in details
        for violation in each.get("violations") or ()
    ]
    if any("PerDay" in quota for quota in quotas):
        return QuotaExhaustedError(
            f"The project's daily quota is used up ({label}). It starts anew at midnight Pacific"
            " time; the quotas are shown in Google AI Studio."
        )
    delays = [_SECONDS.fullmatch(str(each.get("retryDelay", ""))) for each in details]
    asked = max((float(found[1]) for found in delays if found), default=None)
    return RateLimitError(f"Too many requests to Gemini ({label}).", retry_after_seconds=asked)


def _word(text: str) -> str:
    """Keep a name of the API and nothing that could be a sentence."""
    return text if re.fullmatch(r"[A-Z][A-Z0-9_]{0,60}", text) else ""
