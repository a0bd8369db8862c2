"""The models that the server knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

#: Name asked for -> model that answers (modelVersion).
ALIASES = {
    "gemini-flash-latest": "gemini-3.8-flash",
    "gemini-flash-lite-latest": "gemini-3.5-flash-lite",
    "gemini-pro-latest": "gemini-3.1-pro-preview",
}
CHAT_MODELS = (
    "gemini-2.5-flash",
    "gemini-2.5-flash-lite",
    "gemini-2.5-pro",
    "gemini-3-flash-preview",
    "gemini-3.1-flash-lite",
    "gemini-3.1-pro-preview",
    "gemini-3.5-flash",
    "gemini-3.5-flash-lite",
    "gemini-3.6-flash",
    "gemini-3.7-flash",
    "gemini-3.8-flash",
    "gemini-4-argon",
    *ALIASES,
)
EMBEDDING_MODELS = {"gemini-embedding-001": 2_048, "gemini-embedding-2": 8_192}

CHAT_METHODS = ("generateContent", "countTokens", "batchGenerateContent")
EMBEDDING_METHODS = ("embedContent", "countTextTokens", "countTokens", "asyncBatchEmbedContent")


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One model. `name` has no "models/" before it."""

    name: str
    is_embedder: bool = False
    input_limit: int = 1_048_576
    output_limit: int = 65_536

    @property
    def version(self) -> str:
        """The model that answers for this name."""
        return ALIASES.get(self.name, self.name)

    def to_wire(self) -> dict[str, Any]:
        title = self.name.replace("-", " ").title()
        methods = EMBEDDING_METHODS if self.is_embedder else CHAT_METHODS
        return {
            "name": f"models/{self.name}",
            "version": self.version.removeprefix("gemini-"),
            "displayName": title,
            "description": f"{title}, as the loopback server knows it",
            "inputTokenLimit": self.input_limit,
            "outputTokenLimit": self.output_limit,
            "supportedGenerationMethods": list(methods),
        }


def standard_models() -> dict[str, Model]:
    """The models of every fresh server."""
    models = [Model(name=name) for name in CHAT_MODELS]
    models += [
        Model(name=name, is_embedder=True, input_limit=limit, output_limit=1)
        for name, limit in EMBEDDING_MODELS.items()
    ]
    return {model.name: model for model in models}
