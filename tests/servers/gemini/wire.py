"""The request as the service reads it: either spelling of a name, enums by name or by number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SCHEMA_TYPES = (
    "TYPE_UNSPECIFIED",
    "STRING",
    "NUMBER",
    "INTEGER",
    "BOOLEAN",
    "ARRAY",
    "OBJECT",
    "NULL",
)
HARM_CATEGORIES = (
    "HARM_CATEGORY_UNSPECIFIED", "HARM_CATEGORY_DEROGATORY", "HARM_CATEGORY_TOXICITY",
    "HARM_CATEGORY_VIOLENCE", "HARM_CATEGORY_SEXUAL", "HARM_CATEGORY_MEDICAL",
    "HARM_CATEGORY_DANGEROUS", "HARM_CATEGORY_HARASSMENT", "HARM_CATEGORY_HATE_SPEECH",
    "HARM_CATEGORY_SEXUALLY_EXPLICIT", "HARM_CATEGORY_DANGEROUS_CONTENT",
    "HARM_CATEGORY_CIVIC_INTEGRITY",
)  # fmt: skip
THRESHOLDS = (
    "HARM_BLOCK_THRESHOLD_UNSPECIFIED", "BLOCK_LOW_AND_ABOVE", "BLOCK_MEDIUM_AND_ABOVE",
    "BLOCK_ONLY_HIGH", "BLOCK_NONE", "OFF",
)  # fmt: skip
TASK_TYPES = (
    "TASK_TYPE_UNSPECIFIED", "RETRIEVAL_QUERY", "RETRIEVAL_DOCUMENT", "SEMANTIC_SIMILARITY",
    "CLASSIFICATION", "CLUSTERING", "QUESTION_ANSWERING", "FACT_VERIFICATION",
)  # fmt: skip
FUNCTION_MODES = ("MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED")
FINISH_REASONS = (
    "FINISH_REASON_UNSPECIFIED", "STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "OTHER", "LANGUAGE",
    "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MALFORMED_FUNCTION_CALL", "IMAGE_SAFETY",
    "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "IMAGE_PROHIBITED_CONTENT", "IMAGE_OTHER",
    "NO_IMAGE", "IMAGE_RECITATION",
)  # fmt: skip
BLOCK_REASONS = (
    "BLOCK_REASON_UNSPECIFIED", "SAFETY", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT",
    "IMAGE_SAFETY",
)  # fmt: skip
PROBABILITIES = ("HARM_PROBABILITY_UNSPECIFIED", "NEGLIGIBLE", "LOW", "MEDIUM", "HIGH")
MODALITIES = ("MODALITY_UNSPECIFIED", "TEXT", "IMAGE", "VIDEO", "AUDIO", "DOCUMENT")

REQUEST_ENUMS = {
    "type": SCHEMA_TYPES, "category": HARM_CATEGORIES, "threshold": THRESHOLDS,
    "taskType": TASK_TYPES, "mode": FUNCTION_MODES,
}  # fmt: skip
RESPONSE_ENUMS = {
    "finishReason": FINISH_REASONS, "blockReason": BLOCK_REASONS, "category": HARM_CATEGORIES,
    "probability": PROBABILITIES, "modality": MODALITIES,
}  # fmt: skip
#: For names whose number Google has not published (CONTINUATION and later ones). A client with
#: older definitions gets a number that it does not know, as it would from the real service.
UNKNOWN_NUMBER = 99

REQUEST_FIELDS = frozenset({
    "model", "contents", "systemInstruction", "tools", "toolConfig", "safetySettings",
    "generationConfig", "cachedContent", "serviceTier", "store", "continuationToken",
})  # fmt: skip
CONFIG_FIELDS = frozenset({
    "candidateCount", "stopSequences", "maxOutputTokens", "temperature", "topP", "topK", "seed",
    "responseMimeType", "responseSchema", "responseJsonSchema", "presencePenalty",
    "frequencyPenalty", "responseLogprobs", "logprobs", "enableEnhancedCivicAnswers",
    "responseModalities", "speechConfig", "thinkingConfig", "imageConfig", "mediaResolution",
    "audioTranscriptionConfig",
})  # fmt: skip
EMBED_FIELDS = frozenset({"model", "content", "taskType", "title", "outputDimensionality"})
#: Values that belong to the caller and are left alone.
FREE_FIELDS = frozenset({"args", "response", "responseJsonSchema", "parametersJsonSchema"})


class ApiError(Exception):
    """The service refuses the request."""

    def __init__(self, status: int, message: str, *, reason: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.reason = reason


def camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in rest)


def normalise(value: Any) -> Any:
    """Return a message with names in camelCase and enums by name."""
    if isinstance(value, list):
        return [normalise(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    found: dict[str, Any] = {}
    for name, item in value.items():
        key = camel(name)
        if key in FREE_FIELDS:
            found[key] = item
        elif key == "properties" and isinstance(item, Mapping):
            found[key] = {each: normalise(schema) for each, schema in item.items()}
        elif key in REQUEST_ENUMS and isinstance(item, int):
            found[key] = _name_of(REQUEST_ENUMS[key], item, key)
        else:
            found[key] = normalise(item)
    return found


def _name_of(names: tuple[str, ...], number: int, key: str) -> str:
    if not 0 <= number < len(names):
        raise ApiError(400, f"Invalid value at '{key}': {number}")
    return names[number]


def with_integers(value: Any) -> Any:
    """Return an answer with its enums as numbers, for enum-encoding=int."""
    if isinstance(value, list):
        return [with_integers(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    found: dict[str, Any] = {}
    for name, item in value.items():
        if name in FREE_FIELDS:
            found[name] = item
        elif name in RESPONSE_ENUMS and isinstance(item, str):
            names = RESPONSE_ENUMS[name]
            found[name] = names.index(item) if item in names else UNKNOWN_NUMBER
        else:
            found[name] = with_integers(item)
    return found


def check_object(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ApiError(400, "Invalid JSON payload received. Root element must be a message.")
    return value


def _check_fields(value: Mapping[str, Any], allowed: frozenset[str], where: str = "") -> None:
    for name in value:
        if name not in allowed:
            place = f" at '{where}'" if where else ""
            raise ApiError(
                400,
                f'Invalid JSON payload received. Unknown name "{name}"{place}: Cannot find field.',
            )


def _check_content(content: Any, where: str) -> None:
    parts = content.get("parts") if isinstance(content, Mapping) else None
    if not isinstance(parts, list) or not parts:
        raise ApiError(
            400, f"* GenerateContentRequest.{where}.parts: contents.parts must not be empty."
        )
    if content.get("role", "user") not in ("user", "model", "function"):
        raise ApiError(400, "Please use a valid role: user, model.")
    for number, part in enumerate(parts):
        if not isinstance(part, Mapping) or not part or part.get("text") == "":
            raise ApiError(
                400,
                f"* GenerateContentRequest.{where}.parts[{number}].data: required oneof field"
                " 'data' must have one initialized field",
            )


def check_contents(request: Mapping[str, Any]) -> None:
    """Refuse contents that the service would refuse, for counting and for generating."""
    _check_fields(request, REQUEST_FIELDS)
    contents = request.get("contents")
    if not isinstance(contents, list) or not contents:
        raise ApiError(400, "* GenerateContentRequest.contents: contents is not specified")
    for number, content in enumerate(contents):
        _check_content(content, f"contents[{number}]")
    if request.get("systemInstruction"):
        _check_content({**request["systemInstruction"], "role": "user"}, "system_instruction")


def check_generation(request: Mapping[str, Any]) -> None:
    """Refuse a request for an answer that the service would refuse."""
    check_contents(request)
    config = request.get("generationConfig") or {}
    _check_fields(config, CONFIG_FIELDS, "generation_config")
    limit = config.get("maxOutputTokens")
    if limit is not None and (not isinstance(limit, int) or limit <= 0):
        raise ApiError(
            400, "* GenerateContentRequest.generation_config.max_output_tokens: must be positive."
        )
    if not 0 <= config.get("temperature", 1) <= 2:
        raise ApiError(
            400, "* GenerateContentRequest.generation_config.temperature: must be in [0.0, 2.0]."
        )
    if config.get("candidateCount", 1) != 1:
        raise ApiError(400, "Multiple candidates is not enabled for this model")
    has_schema = "responseSchema" in config or "responseJsonSchema" in config
    mime_type = config.get("responseMimeType", "")
    if has_schema and mime_type not in ("application/json", "text/x.enum"):
        raise ApiError(
            400,
            "Response schema is only supported with mime type 'application/json' or 'text/x.enum'.",
        )


def check_embedding(request: Mapping[str, Any], model: str) -> None:
    """Refuse an embedding request that the service would refuse."""
    _check_fields(request, EMBED_FIELDS)
    if request.get("model", f"models/{model}") != f"models/{model}":
        raise ApiError(
            400, "* BatchEmbedContentsRequest.requests[].model: must match the model in the URL."
        )
    _check_content(request.get("content"), "content")
    size = request.get("outputDimensionality")
    if size is not None and not 1 <= size <= 3072:
        raise ApiError(400, "Invalid value for output_dimensionality: must be between 1 and 3072.")
