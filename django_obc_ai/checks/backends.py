"""E003 to E006, E008, W002, W006 to W008 and W015: the configured backends."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from django.core.checks import CheckMessage
from django.utils import timezone

from django_obc_ai.backends.base import BaseBackend
from django_obc_ai.backends.coordinators import coordinators
from django_obc_ai.backends.cost_stores import cost_stores
from django_obc_ai.backends.embedders import PaidEmbedder, embedders
from django_obc_ai.backends.handler import BackendHandler
from django_obc_ai.backends.lexical_stores import lexical_stores
from django_obc_ai.backends.providers import BaseProvider, providers
from django_obc_ai.backends.providers._options import find_public_host
from django_obc_ai.backends.rerankers import rerankers
from django_obc_ai.backends.task_runners import task_runners
from django_obc_ai.backends.vector_stores import vector_stores
from django_obc_ai.checks.messages import error, from_exception, warning
from django_obc_ai.conf import find_errors, suggest
from django_obc_ai.exceptions import ConfigurationError
from django_obc_ai.gateway.prices import bounding_price, find_price, members_of


def check_backends(**_: Any) -> list[CheckMessage]:
    """Build every configured backend, without connecting, and let it check itself."""
    if find_errors():
        return []
    messages: list[CheckMessage] = []
    for family in (
        embedders,
        vector_stores,
        lexical_stores,
        rerankers,
        cost_stores,
        coordinators,
        task_runners,
    ):
        for alias in family:
            messages += _check_backend(family, alias)
    for alias in embedders:
        messages += _check_paid_embedder(alias)
    for alias in providers:
        messages += _check_provider(alias)
    for stores in (vector_stores, lexical_stores):
        for alias in stores:
            messages += _check_path(stores, alias)
    return messages


def _check_backend(family: BackendHandler[Any], alias: str) -> list[CheckMessage]:
    try:
        backend: BaseBackend = family[alias]
        return [*_check_deprecation(family, alias), *backend.check(family.where(alias))]
    except ConfigurationError as exception:
        where = family.where(alias)
        named = exception
        if where not in exception.message:
            named = ConfigurationError(
                f"{where}: {exception.message}", hint=exception.hint, check_id=exception.check_id
            )
        return [from_exception(named)]


def _check_deprecation(family: BackendHandler[Any], alias: str) -> list[CheckMessage]:
    reason = family[alias].deprecation
    if not reason:
        return []
    hint = "Change its 'BACKEND'; until then it goes on working."
    return [warning("W006", f"{family.where(alias)} should be replaced: {reason}", hint)]


def _check_provider(alias: str) -> list[CheckMessage]:
    messages = _check_backend(providers, alias)
    try:
        found = providers.backend_class(alias)
    except ConfigurationError:
        return messages
    try:
        provider: BaseProvider | None = providers[alias]
    except ConfigurationError:
        provider = None
    # What a class requires, an option may take back: a local server needs no key.
    if (provider or found).requires_api_key:
        messages += _check_key(alias, found, providers.spec(alias).options.get("api_key"))
    if provider is None:
        return messages
    if provider.is_free:
        return [*messages, *_check_is_local(alias, provider)]
    return [*messages, *_check_price(alias, provider)]


def _check_key(alias: str, found: type[BaseProvider], key: Any) -> list[CheckMessage]:
    """E006 and W008: is there a key, and can it be one? Nobody is asked."""
    where = providers.where(alias)
    if not key:
        hint = "Set OPTIONS['api_key'] from the environment."
        return [error("E006", f"{where} has no API key.", hint)]
    fault = found.find_key_fault(key) if isinstance(key, str) else "is no text"
    if not fault:
        return []
    hint = "Copy the key from its provider again, without quotation marks or spaces around it."
    return [warning("W008", f"The API key of {where} {fault}.", hint)]


def _check_is_local(alias: str, provider: BaseProvider) -> list[CheckMessage]:
    """W015: does a provider that is declared free ask somebody on the internet?"""
    host = find_public_host(getattr(provider, "base_url", ""))
    if not host:
        return []
    return [
        warning(
            "W015",
            f"{providers.where(alias)} declares is_local, but {host} looks like a public host:"
            " its calls are booked at 0 and pass every budget.",
            "Remove OPTIONS['is_local'] and give prices in OBC_AI['PRICES'], or silence this if"
            " the server is yours.",
        )
    ]


def _check_price(alias: str, provider: BaseProvider) -> list[CheckMessage]:
    """W002 and W007: what the provider's model costs, and whether that is one model."""
    model, now = provider.model, timezone.now()
    if bounding_price(model, now) is None:
        return [
            warning(
                "W002",
                f"The model {model!r} of {providers.where(alias)} has no price, so its costs are"
                " not known and no budget can hold them.",
                f"Give its prices in OBC_AI['PRICES'][{model!r}].",
            )
        ]
    if find_price(model, now) is not None:
        return []
    named = " or ".join(map(repr, members_of(model)))
    return [
        warning(
            "W007",
            f"The model {model!r} of {providers.where(alias)} is an alias: what answers, and at"
            " which price, may change any day.",
            f"Name the model that you tested, for example {named}.",
        )
    ]


def _check_paid_embedder(alias: str) -> list[CheckMessage]:
    """E004 and W002: can its provider embed, and what does its model cost?"""
    where = f"{embedders.where(alias)}['OPTIONS']"
    try:
        embedder = embedders[alias]
        if not isinstance(embedder, PaidEmbedder):
            return []
        named, known = embedder.provider, list(providers)
        if named not in known:
            message = f"{where}['provider'] names {named!r}, which OBC_AI['PROVIDERS'] lacks."
            return [error("E004", message, suggest(named, known))]
        provider = providers[named]
    except ConfigurationError:  # reported where it was found
        return []
    if not provider.supports_embedding:
        hint = "Name a provider that embeds texts, such as GoogleGenAIProvider."
        message = f"{where}['provider'] names {named!r}, which does not embed texts."
        return [error("E004", message, hint)]
    if provider.is_free or bounding_price(embedder.model, timezone.now()) is not None:
        return []
    return [
        warning(
            "W002",
            f"The model {embedder.model!r} of {embedders.where(alias)} has no price, so its"
            " costs are not known and no budget can hold them.",
            f"Give its prices in OBC_AI['PRICES'][{embedder.model!r}].",
        )
    ]


def _check_path(stores: BackendHandler[Any], alias: str) -> list[CheckMessage]:
    """E008: a store that writes files needs a folder it may write to. Any: of either family."""
    try:
        path = stores[alias].path
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
            f"{stores.where(alias)}['OPTIONS']['path'] is not writable.",
            f"Let the user that runs Django write to {folder.name!r}, or name another folder.",
        )
    ]
