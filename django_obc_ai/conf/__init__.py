"""The only package that reads ``settings.OBC_AI``.

`get_settings` parses the dictionary once into a frozen `AISettings`, and
``setting_changed`` drops it, so ``override_settings(OBC_AI=...)`` works. Unknown keys
and wrong types raise `ConfigurationError` with the nearest valid name; the system
checks show the same errors, all at once, through `find_errors`.

What reads them is imported when they are first asked for: Django starts without it.
"""

from __future__ import annotations

import threading
from importlib import import_module
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.signals import setting_changed

from django_obc_ai.conf.scopes import PERIODS, SCOPES
from django_obc_ai.conf.values import as_mapping, suggest
from django_obc_ai.exceptions import ConfigurationError

if TYPE_CHECKING:
    from django_obc_ai.conf.budgets import BudgetSettings, MoneySettings
    from django_obc_ai.conf.cache import DEFAULT_TTL_SECONDS
    from django_obc_ai.conf.parsing import EMBEDDED_BACKENDS, KEYS, AISettings
    from django_obc_ai.types.chat import ChatSettings
    from django_obc_ai.types.settings import CacheSettings, RetrySettings

__all__ = [
    "DEFAULT_TTL_SECONDS",
    "EMBEDDED_BACKENDS",
    "KEYS",
    "PERIODS",
    "SCOPES",
    "AISettings",
    "BudgetSettings",
    "CacheSettings",
    "ChatSettings",
    "MoneySettings",
    "RetrySettings",
    "find_errors",
    "get_settings",
    "read_cache_models",
    "suggest",
]

_HOMES = {
    "budgets": ("BudgetSettings", "MoneySettings"),
    "cache": ("DEFAULT_TTL_SECONDS",),
    "parsing": (
        "AISettings", "CacheSettings", "ChatSettings", "EMBEDDED_BACKENDS", "KEYS", "RetrySettings",
    ),
}  # fmt: skip

_lock = threading.Lock()
_parsed: AISettings | None = None


def __getattr__(name: str) -> Any:  # of any of these types
    for module, names in _HOMES.items():
        if name in names:
            found = globals()[name] = getattr(import_module(f"{__name__}.{module}"), name)
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def find_errors() -> list[ConfigurationError]:
    """Return everything that is wrong in ``OBC_AI``; empty if it is fine."""
    from django_obc_ai.conf.parsing import parse

    return parse()[1]


def read_cache_models() -> tuple[str, ...]:
    """Return ``OBC_AI["CACHE"]["models"]``, () if it is broken, and keep nothing of the rest.

    For the start, when a project may not have made all of its settings yet.
    """
    try:
        raw = as_mapping(getattr(settings, "OBC_AI", {}), "OBC_AI")
        if "CACHE" not in raw:
            return ()
        from django_obc_ai.conf.cache import parse_cache

        return parse_cache(raw["CACHE"], "OBC_AI['CACHE']").models
    except ConfigurationError:
        return ()


def get_settings() -> AISettings:
    """Return the parsed settings.

    Raises:
        ConfigurationError: ``OBC_AI`` holds something wrong; the first fault is named.
    """
    global _parsed
    current = _parsed
    if current is None:
        from django_obc_ai.conf.parsing import AISettings, parse

        with _lock:
            values, errors = parse()
            if errors:
                raise errors[0]
            current = _parsed = AISettings(**values)
    return current


def _forget(*, setting: str, **_: Any) -> None:
    global _parsed
    if setting in ("OBC_AI", "BASE_DIR"):  # a default depends on the latter
        with _lock:  # after a thread that is at it with the settings as they were
            _parsed = None


setting_changed.connect(_forget, dispatch_uid="django_obc_ai.conf")
