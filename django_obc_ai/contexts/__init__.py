"""Prompt contexts: background that a project sends with its prompts.

``OBC_AI["CONTEXT"]`` lists dotted paths of `BaseContext` subclasses. Their texts are
joined, in order, into the system instruction, once per call.
"""

from __future__ import annotations

from functools import lru_cache

from django.utils.module_loading import import_string

from django_obc_ai.conf import get_settings
from django_obc_ai.contexts.base import BaseContext
from django_obc_ai.exceptions import ConfigurationError


@lru_cache(maxsize=32)
def _load(paths: tuple[str, ...]) -> tuple[BaseContext, ...]:
    contexts = []
    for number, path in enumerate(paths):
        where = f"OBC_AI['CONTEXT'][{number}]"
        try:
            found = import_string(path)
        except ImportError as error:
            raise ConfigurationError(
                f"{where} cannot be imported: {error}.",
                hint=f"Check the dotted path {path!r}.",
                check_id="E003",
            ) from error
        if not (isinstance(found, type) and issubclass(found, BaseContext)):
            raise ConfigurationError(
                f"{where} {path!r} is not a subclass of django_obc_ai.contexts.BaseContext.",
                hint="Derive the class from BaseContext.",
                check_id="E003",
            )
        contexts.append(found())
    return tuple(contexts)


def get_contexts() -> tuple[BaseContext, ...]:
    """Return the configured contexts, in order.

    Raises:
        ConfigurationError: A path is wrong or no `BaseContext`.
    """
    return _load(get_settings().context)


__all__ = ["BaseContext", "get_contexts"]
