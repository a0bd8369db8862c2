"""The models that may be asked about, by label: declared beside the model, or in the settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from django.apps import apps
from django.db import models
from django.utils.module_loading import import_string

from django_obc_ai.chat.declaration import ChatModel
from django_obc_ai.conf import get_settings, suggest
from django_obc_ai.exceptions import ConfigurationError

if TYPE_CHECKING:
    from django_obc_ai.conf import AISettings

DeclarationT = TypeVar("DeclarationT", bound=type[ChatModel])
_declared: dict[str, ChatModel] = {}
_built: tuple[AISettings | None, dict[str, ChatModel]] = (None, {})


def register(declaration: DeclarationT) -> DeclarationT:
    """Register a declaration; a class decorator for ``ai_chat.py``.

    Raises:
        ConfigurationError: It names no model.
    """
    global _built
    model = getattr(declaration, "model", None)
    if not (isinstance(model, type) and issubclass(model, models.Model)):
        where = f"{declaration.__module__}.{declaration.__qualname__}"
        raise ConfigurationError(
            f"The chat declaration {where} has no model.", hint="Set model = YourModel."
        )
    declared = declaration()
    _declared[declared.label] = declared
    _built = (None, {})
    return declaration


def unregister(label: str) -> None:
    """Forget a declaration; for tests."""
    global _built
    _declared.pop(label, None)
    _built = (None, {})


def get_chat_models() -> dict[str, ChatModel]:
    """Return all declarations by label; those in ``OBC_AI["CHAT"]["models"]`` win.

    Raises:
        ConfigurationError: An entry of the settings names what does not exist.
    """
    global _built
    settings = get_settings()
    known, found = _built
    if known is not settings:
        of_settings = (_from_settings(*item) for item in settings.chat.models.items())
        found = {**_declared, **{each.label: each for each in of_settings}}
        _built = (settings, found)
    return dict(found)


def get_chat_model(label: str) -> ChatModel | None:
    """Return the declaration of a label, or None."""
    return get_chat_models().get(label)


def _from_settings(label: str, entry: Mapping[str, Any]) -> ChatModel:
    where = f"OBC_AI['CHAT']['models'][{label!r}]"
    try:
        model = apps.get_model(label)
    except (LookupError, ValueError):
        known = [each._meta.label for each in apps.get_models()]
        raise ConfigurationError(
            f"{where} names no model of an installed app.", hint=suggest(label, known)
        ) from None
    attributes = {**entry, "model": model}
    visible_to = attributes.pop("visible_to", None)
    if isinstance(visible_to, str):
        try:
            visible_to = import_string(visible_to)
        except ImportError as error:
            raise ConfigurationError(
                f"{where}['visible_to'] cannot be imported: {error}.",
                hint="Give the dotted path of a function (queryset, user) -> queryset.",
                check_id="E003",
            ) from error
    if visible_to is not None:
        if not callable(visible_to):
            raise ConfigurationError(
                f"{where}['visible_to'] cannot be called.",
                hint="Give a function (queryset, user) -> queryset, or its dotted path.",
            )
        attributes["visible_to"] = staticmethod(visible_to)
    declared: type[ChatModel] = type("SettingsChatModel", (ChatModel,), attributes)
    return declared()
