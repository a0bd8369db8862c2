"""W003, W005, W017, W022, W025 and W028, under ``check --deploy``: what workers have in common."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage

from django_obc_ai.backends.coordinators import coordinators
from django_obc_ai.backends.cost_stores import cost_stores
from django_obc_ai.backends.handler import BackendHandler
from django_obc_ai.backends.lexical_stores import lexical_stores
from django_obc_ai.backends.providers import providers
from django_obc_ai.backends.vector_stores import vector_stores
from django_obc_ai.checks.messages import deployment_warning
from django_obc_ai.checks.redis_databases import check_redis_databases
from django_obc_ai.checks.served import PRIVATE_CACHES, backend_of
from django_obc_ai.checks.web import costs_money
from django_obc_ai.conf import AISettings, find_errors, get_settings
from django_obc_ai.exceptions import ConfigurationError


def check_deployment(**_: Any) -> list[CheckMessage]:
    """Warn of what is right for one process on one's own machine, and wrong on a server."""
    if find_errors():
        return []
    parsed = get_settings()
    return [
        *_check_cache(parsed),
        *_check_stores(),
        *_check_budgets(parsed),
        *_check_folders(parsed),
        *check_redis_databases(),
    ]


def _check_cache(parsed: AISettings) -> Iterator[CheckMessage]:
    """W003: a response cache that each worker has to itself."""
    backend = backend_of(parsed.cache.alias)
    if backend.endswith(PRIVATE_CACHES):
        yield deployment_warning(
            "W003",
            f"OBC_AI['CACHE'] uses {backend.rpartition('.')[2]}, which workers do not share:"
            " each pays for the same answer, and dropped tags live on in the others.",
            f"Let CACHES[{parsed.cache.alias!r}] be Redis, Memcached or the database cache.",
        )


def _check_stores() -> Iterator[CheckMessage]:
    """W005 and W017: money and traffic that each worker counts for itself."""
    try:
        is_shared = cost_stores["default"].is_shared
        is_coordinated = coordinators["default"].is_shared
    except ConfigurationError:  # check_backends reports it
        return
    if not is_shared:
        yield deployment_warning(
            "W005",
            "OBC_AI['COST_STORES']['default'] is not shared between processes: every worker"
            " may spend the whole budget.",
            "Use the database cost store.",
        )
    elif not is_coordinated:  # the default coordinator follows the cost store, and so its warning
        yield deployment_warning(
            "W017",
            "OBC_AI['COORDINATORS']['default'] is not shared between processes: every worker"
            " makes equal calls for itself and may use the provider's whole rate limit.",
            "Remove OBC_AI['COORDINATORS'], or use the database or the Redis coordinator.",
        )


def _check_budgets(parsed: AISettings) -> Iterator[CheckMessage]:
    """W022: money that nothing holds back."""
    paid = [providers.where(alias) for alias in providers if costs_money(alias)]
    # A budget with a key holds one module, person or tenant, and leaves the others free.
    general = [
        each
        for each in parsed.budgets
        if each.unit == "usd" and (each.scope == "global" or not each.key)
    ]
    if not paid or any(each.enforce for each in general):
        return
    advice = "{'scope': 'global', 'period': 'day', 'limit_usd': '5.00'}"
    what = "no budget in OBC_AI['BUDGETS'] limits the dollars of all its calls"
    hint = f"Add one with a limit of your own: {advice}."
    if general:
        what = "the budgets in OBC_AI['BUDGETS'] count its dollars and refuse nothing"
        hint = "Remove 'enforce': False from one of them."
    yield deployment_warning(
        "W022",
        f"{paid[0]} costs money, and {what}.",
        f"{hint} If budgets are kept in the admin, add 'django_obc_ai.W022' to"
        " SILENCED_SYSTEM_CHECKS.",
    )


def _check_folders(parsed: AISettings) -> Iterator[CheckMessage]:
    """W025: files of ours where a web server hands out whatever lies there."""
    ours: list[tuple[str, str | Path | None]] = [("OBC_AI['LOG']['spool']", parsed.log.spool)]
    families: tuple[BackendHandler[Any], ...] = (vector_stores, lexical_stores)  # Any: of two
    for stores in families:
        for alias in stores:
            with suppress(ConfigurationError):  # check_backends reports it
                ours.append((f"The path of {stores.where(alias)}", stores[alias].path))
    public = list(_public_folders())
    for where, given in ours:
        if given is None:
            continue
        folder = Path(given).resolve()
        name = next((name for name, each in public if folder.is_relative_to(each)), None)
        if name is not None:
            yield deployment_warning(
                "W025",
                f"{where} lies inside of {name}, whose files a web server gives to everybody.",
                "Name a folder beside it that only the project's processes may read.",
            )


def _public_folders() -> Iterator[tuple[str, Path]]:
    for name in ("MEDIA_ROOT", "STATIC_ROOT"):
        if root := getattr(settings, name, None):  # "" would be the current folder
            yield name, Path(root).resolve()
    for entry in getattr(settings, "STATICFILES_DIRS", ()):
        root = entry[1] if isinstance(entry, (list, tuple)) else entry
        yield "STATICFILES_DIRS", Path(root).resolve()
