"""``OBC_AI["CHAT"]``: shape and types; `chat.registry` resolves the names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from django_obc_ai.conf.values import as_mapping, as_positive, as_text, only_keys, wrong_type
from django_obc_ai.types.chat import ChatSettings

_KEYS = tuple(f.name for f in fields(ChatSettings))
#: What the declaration of a model may hold; the attributes of `chat.ChatModel`.
MODEL_KEYS = (
    "fields",
    "relations",
    "lookups",
    "aggregates",
    "needs_permission",
    "default_fields",
    "synonyms",
    "field_synonyms",
    "max_rows",
    "max_seconds",
    "min_group_size",
    "visible_to",
)


def parse_chat(value: Any, where: str) -> ChatSettings:
    """Return the parsed section, completed with defaults."""
    entry = as_mapping(value, where)
    only_keys(entry, _KEYS, where)
    found: dict[str, Any] = {}  # Any: values of several types
    if "provider" in entry:
        found["provider"] = as_text(entry["provider"], f"{where}['provider']")
    for name in ("history_tokens", "max_message_characters", "retention_days"):
        if name in entry and not (name == "retention_days" and entry[name] is None):
            wanted = "a whole number above 0"
            found[name] = as_positive(entry[name], f"{where}[{name!r}]", int, wanted)
        elif name in entry:
            found[name] = None
    if "suggestions" in entry:
        if not isinstance(entry["suggestions"], bool):
            raise wrong_type(f"{where}['suggestions']", entry["suggestions"], "True or False")
        found["suggestions"] = entry["suggestions"]
    found["models"] = _models(entry.get("models", {}), f"{where}['models']")
    return ChatSettings(**found)


def _models(value: Any, where: str) -> Mapping[str, Mapping[str, Any]]:
    models = {}
    for label, entry in as_mapping(value, where).items():
        at = f"{where}[{label!r}]"
        entry = as_mapping(entry, at)
        only_keys(entry, MODEL_KEYS, at)
        models[label] = entry
    return models
