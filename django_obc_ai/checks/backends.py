"""E003 to E006, E008 and W002: the configured backends."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from django.core.checks import CheckMessage
from django.utils import timezone

from django_obc_ai.backends.base import BaseBackend
from django_obc_ai.backends.cost_stores import cost_stores
from django_obc_ai.backends.embedders import embedders
from django_obc_ai.backends.handler import BackendHandler
from django_obc_ai.backends.providers import providers
from django_obc_ai.backends.vector_stores import vector_stores
from django_obc_ai.checks.messages import error, from_exception, warning
from django_obc_ai.conf import find_errors
from django_obc_ai.exceptions import ConfigurationError
from django_obc_ai.gateway.prices import find_price


def check_backends(**_: Any) -> list[CheckMessage]:
    """Build every configured backend, without connecting, and let it check itself."""
    if find_errors():
        return []
    messages: list[CheckMessage] = []
    for family in (embedders, vector_stores, cost_stores):
        for alias in family:
            messages += _check_backend(family, alias)
    for alias in providers:
        messages += _check_provider(alias)
    for alias in vector_stores:
        messages += _check_path(alias)
    return messages


def _check_backend(family: BackendHandler[Any], alias: str) -> list[CheckMessage]:
    try:
        backend: BaseBackend = family[alias]
        return backend.check(family.where(alias))
    except ConfigurationError as exception:
        where = family.where(alias)
        named = exception
        if where not in exception.message:
            named = ConfigurationError(
                f"{where}: {exception.message}", hint=exception.hint, check_id=exception.check_id
            )
        return [from_exception(named)]


def _check_provider(alias: str) -> list[CheckMessage]:
    messages = _check_backend(providers, alias)
    try:
        found = providers.backend_class(alias)
    except ConfigurationError:
        return messages
    options = providers.spec(alias).options
    if found.requires_api_key and not options.get("api_key"):
        messages.append(
            error(
                "E006",
                f"{providers.where(alias)} has no API key.",
                "Set OPTIONS['api_key'] from the environment.",
            )
        )
    try:
        provider = providers[alias]
    except ConfigurationError:
        return messages
    if not provider.is_free and find_price(provider.model, timezone.now()) is None:
        messages.append(
            warning(
                "W002",
                f"The model {provider.model!r} of {providers.where(alias)} has no price, so its"
                " costs are not known and no budget can hold them.",
                f"Give its prices in OBC_AI['PRICES'][{provider.model!r}].",
            )
        )
    return messages


def _check_path(alias: str) -> list[CheckMessage]:
    """E008: a store that writes files needs a folder it may write to."""
    try:
        path = vector_stores[alias].path
    except ConfigurationError:
        return []
    if path is None:
        return []
    folder = Path(path)
    existing = next(each for each in (folder, *folder.parents) if each.exists())
    if existing.is_dir() and os.access(existing, os.W_OK | os.X_OK):
        return []
    return [
        error(
            "E008",
            f"{vector_stores.where(alias)}['OPTIONS']['path'] is not writable.",
            f"Let the user that runs Django write to {folder.name!r}, or name another folder.",
        )
    ]
