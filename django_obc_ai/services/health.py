"""Is everything in place? One report for the command and, later, for the endpoint."""

from __future__ import annotations

import platform
import secrets
from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import Any

import django
from django.core.cache import caches
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.migrations.executor import MigrationExecutor

from django_obc_ai import __version__
from django_obc_ai.backends.cost_stores import cost_stores
from django_obc_ai.backends.embedders import embedders
from django_obc_ai.backends.handler import BackendHandler
from django_obc_ai.backends.providers import providers
from django_obc_ai.backends.vector_stores import vector_stores
from django_obc_ai.conf import find_errors, get_settings, suggest
from django_obc_ai.exceptions import ConfigurationError, IndexNotReadyError
from django_obc_ai.indexes import VectorIndex, get_indexes
from django_obc_ai.logs import events
from django_obc_ai.models import AIOperation, DirtyRow
from django_obc_ai.services import _provider_health as asking
from django_obc_ai.services._provider_health import HealthItem, HealthReport

__all__ = ["HealthItem", "HealthReport", "check_health"]


def check_health(
    *, is_live: bool = False, provider: str = "default", may_ping: bool = True
) -> HealthReport:
    """Look at every configured part; spends nothing unless ``is_live``.

    Args:
        is_live: Also make one smallest possible call.
        provider: Alias of the provider that this call goes to.
        may_ping: Whether providers may be asked, without spending, if they accept the key and
            know the model.
    """
    errors = find_errors()
    if errors:
        items = [
            HealthItem(name="settings", status="error", message=e.message, hint=e.hint)
            for e in errors
        ]
        return HealthReport(items=tuple(items))
    items = [
        HealthItem(name="settings", status="ok", message="OBC_AI is valid.", detail=_versions())
    ]
    for alias in providers:
        items.append(_guarded(f"provider {alias}", partial(asking.check_provider, alias, may_ping)))
        if not _is_free(alias):
            items.append(_guarded(f"price {alias}", partial(asking.check_price, alias)))
    for label, handler in (
        ("embedder", embedders),
        ("vector store", vector_stores),
        ("cost store", cost_stores),
    ):
        items += _backends(label, handler)
    alias = get_settings().database
    items.append(_guarded(f"database {alias}", partial(_database, alias)))
    items.append(_guarded("spool", asking.check_spool))
    items.append(_guarded("response cache", _cache))
    items += [_guarded(f"index {each.name}", partial(_index, each)) for each in get_indexes()]
    if is_live:
        items.append(_guarded("live call", partial(asking.call_live, provider)))
    return HealthReport(items=tuple(items))


def _versions() -> str:
    """Return what a bug report needs."""
    return (
        f"django-obc-ai {__version__}, Django {django.get_version()},"
        f" Python {platform.python_version()}"
    )


def _guarded(name: str, check: Callable[[], HealthItem]) -> HealthItem:
    """Run one check; wrong settings are an "error", what else failed "unknown" and logged."""
    try:
        return check()
    except ConfigurationError as error:
        return HealthItem(name=name, status="error", message=error.message, hint=error.hint)
    except Exception as error:  # noqa: BLE001 - one part must not keep the others from being told
        events.HEALTH_CHECK_FAILED.log(about=name, error=error, part=name)
        return HealthItem(
            name=name,
            status="unknown",
            message=f"Could not be checked ({type(error).__name__}).",
            hint="See the log of django_obc_ai.health.",
        )


def _backends(label: str, handler: BackendHandler[Any]) -> Iterator[HealthItem]:
    for alias in handler:
        yield _guarded(f"{label} {alias}", partial(_backend, label, handler, alias))


def _backend(label: str, handler: BackendHandler[Any], alias: str) -> HealthItem:
    return asking.describe(f"{label} {alias}", handler[alias], handler.where(alias))


def _is_free(alias: str) -> bool:
    try:
        return providers[alias].is_free
    except ConfigurationError:  # the item of the provider itself says so
        return True


def _database(alias: str) -> HealthItem:
    name = f"database {alias}"
    _known(alias, connections.databases, "OBC_AI['DATABASE'] names", "DATABASES")
    executor = MigrationExecutor(connections[alias])
    targets = [key for key in executor.loader.graph.leaf_nodes() if key[0] == "django_obc_ai"]
    if executor.migration_plan(targets):
        option = "" if alias == DEFAULT_DB_ALIAS else f" --database {alias}"
        return HealthItem(
            name=name,
            status="error",
            message="Migrations of django_obc_ai are missing.",
            hint=f"Run: manage.py migrate django_obc_ai{option}",
        )
    count = AIOperation.objects.using(alias).count()
    return HealthItem(name=name, status="ok", message=f"Migrated; {count} operations logged.")


def _cache() -> HealthItem:
    name = "response cache"
    alias = get_settings().cache.alias
    if alias is None:
        return HealthItem(name=name, status="ok", message="Switched off.")
    _known(alias, caches.settings, "OBC_AI['CACHE']['alias'] names", "CACHES")
    written = secrets.token_hex(8)
    caches[alias].set("django_obc_ai:health", written, 30)
    if caches[alias].get("django_obc_ai:health") != written:
        return HealthItem(
            name=name,
            status="warning",
            message=f"The cache {alias!r} does not keep what is written; answers are paid twice.",
            hint="Point OBC_AI['CACHE']['alias'] to a cache that stores.",
        )
    return HealthItem(name=name, status="ok", message=f"The cache {alias!r} keeps answers.")


def _known(alias: str, valid: Collection[str], names: str, setting: str) -> None:
    if alias not in valid:
        raise ConfigurationError(
            f"{names} {alias!r}, which {setting} lacks.", hint=suggest(alias, valid)
        )


def _index(index: VectorIndex) -> HealthItem:
    from django_obc_ai.indexes.replica import sync
    from django_obc_ai.services.indexing import IndexingService

    name = f"index {index.name}"
    hint = f"Run: manage.py ai_index {index.name}"
    try:
        replica = sync(index)
    except IndexNotReadyError:
        return HealthItem(name=name, status="warning", message="Not built yet.", hint=hint)
    if not IndexingService().is_current(index.name):
        message = "Built with another embedder or text template; it cannot be searched."
        return HealthItem(name=name, status="error", message=message, hint=hint)
    waiting = DirtyRow.objects.using(index.database).filter(index_name=index.name).count()
    if waiting:
        message = f"{waiting} changes wait to be indexed."
        return HealthItem(name=name, status="warning", message=message, hint=hint)
    chunks = replica.store.count(index.name)
    return HealthItem(name=name, status="ok", message=f"{chunks} chunks, up to date.")
