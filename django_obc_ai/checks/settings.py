"""E001, E002, E003, E007, E010, E017, W001 and W014: the settings dictionary itself."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage
from django.utils.module_loading import import_string

from django_obc_ai.backends.cost_stores import cost_stores
from django_obc_ai.backends.providers import providers
from django_obc_ai.checks.messages import error, from_exception, warning
from django_obc_ai.conf import AISettings, find_errors, get_settings, suggest
from django_obc_ai.contexts import get_contexts
from django_obc_ai.exceptions import ConfigurationError
from django_obc_ai.gateway import spool
from django_obc_ai.gateway.redaction import load_function

_MINIMUM_SECRET_LENGTH = 12  # shorter texts are placeholders and would be found anywhere


def check_settings(**_: Any) -> list[CheckMessage]:
    """Report everything wrong in ``OBC_AI`` at once."""
    errors = find_errors()
    if errors:
        return [from_exception(each) for each in errors]
    messages = []
    parsed = get_settings()
    alias = parsed.cache.alias
    if alias is not None and alias not in settings.CACHES:
        messages.append(
            error(
                "E007",
                f"OBC_AI['CACHE']['alias'] names the cache {alias!r}, which CACHES lacks.",
                suggest(alias, settings.CACHES),
            )
        )
    messages += _unknown_models(parsed.cache.models)
    if parsed.database not in settings.DATABASES:
        messages.append(
            error(
                "E010",
                f"OBC_AI['DATABASE'] names {parsed.database!r}, which DATABASES lacks.",
                suggest(parsed.database, settings.DATABASES),
            )
        )
    if parsed.log.spool is not None and (fault := spool.find_fault(parsed.log.spool)):
        messages.append(
            warning(
                "W014",
                f"OBC_AI['LOG']['spool']: {fault}, so operations cannot wait on disk.",
                "Name a folder that every process of the project may write to.",
            )
        )
    stand_in, stores = parsed.money.stand_in, list(cost_stores)
    if stand_in is not None and stand_in not in stores:
        messages.append(
            error(
                "E017",
                f"OBC_AI['MONEY']['stand_in'] names {stand_in!r}, which COST_STORES lacks.",
                suggest(stand_in, stores),
            )
        )
    messages += _unknown_providers(parsed)
    from django_obc_ai.services.warming import load_prompts  # not at start-up

    loads: tuple[Callable[[], object], ...] = (
        get_contexts,
        partial(load_function, parsed.log),
        partial(load_prompts, parsed.cache.warm),
    )
    for load in loads:
        try:
            load()
        except ConfigurationError as exception:
            messages.append(from_exception(exception))
    if isinstance(parsed.scope, str):
        try:
            if not callable(import_string(parsed.scope)):
                messages.append(
                    error(
                        "E002",
                        "OBC_AI['SCOPE'] names something that cannot be called.",
                        "Give the dotted path of a function that takes a user and returns text.",
                    )
                )
        except ImportError as exception:
            messages.append(
                error(
                    "E003",
                    f"OBC_AI['SCOPE'] cannot be imported: {exception}.",
                    "Give the dotted path of a function that takes a user and returns text.",
                )
            )
    return messages


def _unknown_providers(parsed: AISettings) -> list[CheckMessage]:
    """E020: an alias in FALLBACKS or RATE_LIMITS that PROVIDERS lacks."""
    named = [(f"OBC_AI['RATE_LIMITS'][{alias!r}]", alias) for alias in parsed.rate_limits]
    for alias, others in parsed.fallbacks.items():
        where = f"OBC_AI['FALLBACKS'][{alias!r}]"
        named += [(where, each) for each in (alias, *others)]
    return [
        error("E020", f"{where} names {alias!r}, which PROVIDERS lacks.", suggest(alias, providers))
        for where, alias in named
        if alias not in parsed.providers
    ]


def _unknown_models(labels: Iterable[str]) -> Iterator[CheckMessage]:
    for label in labels:
        try:
            apps.get_model(label)
        except LookupError:
            yield error(
                "E003",
                f"OBC_AI['CACHE']['models'] names {label!r}, which is no model.",
                suggest(label, [each._meta.label for each in apps.get_models()]),
            )


def check_key_in_source(**_: Any) -> list[CheckMessage]:
    """W001: an API key that stands in a settings file will be committed one day."""
    if find_errors():
        return []
    messages = []
    for alias in providers:
        key = providers.spec(alias).options.get("api_key")
        if not isinstance(key, str) or len(key) < _MINIMUM_SECRET_LENGTH:
            continue
        messages += [
            warning(
                "W001",
                f"The API key of {providers.where(alias)} stands in {path.name}.",
                "Read it from the environment, and replace the key: it may be in the"
                " repository's history already.",
            )
            for path in _settings_files()
            if key in path.read_text(encoding="utf-8", errors="replace")
        ]
    return messages


def _settings_files() -> Iterator[Path]:
    """Yield the source files of the settings module and of its package's modules in use."""
    module = getattr(settings, "SETTINGS_MODULE", None)
    if not module:
        return
    package = module.rpartition(".")[0]
    names = [name for name in sorted(sys.modules) if package and name.rpartition(".")[0] == package]
    for name in dict.fromkeys([module, *names]):
        spec = importlib.util.find_spec(name) if name in sys.modules else None
        if spec is not None and spec.origin and spec.origin.endswith(".py"):
            yield Path(spec.origin)
