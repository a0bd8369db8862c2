"""The models that may be asked about, by label."""

from __future__ import annotations

from typing import TypeVar

from django.db import models

from django_obc_ai.chat.declaration import ChatModel
from django_obc_ai.exceptions import ConfigurationError

DeclarationT = TypeVar("DeclarationT", bound=type[ChatModel])
_declared: dict[str, ChatModel] = {}


def register(declaration: DeclarationT) -> DeclarationT:
    """Register a declaration; a class decorator for ``ai_chat.py``.

    Raises:
        ConfigurationError: It names no model.
    """
    model = getattr(declaration, "model", None)
    if not (isinstance(model, type) and issubclass(model, models.Model)):
        where = f"{declaration.__module__}.{declaration.__qualname__}"
        raise ConfigurationError(
            f"The chat declaration {where} has no model.", hint="Set model = YourModel."
        )
    declared = declaration()
    _declared[declared.label] = declared
    return declaration


def unregister(label: str) -> None:
    """Forget a declaration; for tests."""
    _declared.pop(label, None)


def get_chat_models() -> dict[str, ChatModel]:
    """Return all declarations by label; those in ``OBC_AI["CHAT"]["models"]`` win."""
    return dict(_declared)


def get_chat_model(label: str) -> ChatModel | None:
    """Return the declaration of a label, or None."""
    return get_chat_models().get(label)
