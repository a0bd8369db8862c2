"""The part of the health check that looks at databases, the response cache and indexes."""

from __future__ import annotations

import secrets
from collections.abc import Collection

from django.conf import settings
from django.core.cache import caches
from django.core.cache.backends.locmem import LocMemCache
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from django_obc_ai.conf import get_settings, suggest
from django_obc_ai.exceptions import ConfigurationError, IndexNotReadyError
from django_obc_ai.indexes import VectorIndex
from django_obc_ai.models import AIOperation, DirtyRow, IndexFailure
from django_obc_ai.services._ages import age
from django_obc_ai.services._provider_health import HealthItem
from django_obc_ai.services.pauses import paused_providers

_MOST_COUNTED = 10_000
_MOST_NAMED = 3
#: A change that is being embedded waits a moment, with a paid embedder up to a minute.
LATE_AFTER_SECONDS = 60.0


def check_database(alias: str) -> HealthItem:
    """Say whether a database has this package's tables, and what is in its ledger.

    Raises:
        ConfigurationError: There is no such database.
        DatabaseError: It does not answer.
    """
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
    if alias != get_settings().database:
        return HealthItem(name=name, status="ok", message="Migrated.")
    rows = AIOperation.objects.using(alias).order_by()
    count = rows.values("pk")[: _MOST_COUNTED + 1].count()  # a large ledger takes long to count
    told = f"more than {_MOST_COUNTED:,}" if count > _MOST_COUNTED else str(count)
    return HealthItem(name=name, status="ok", message=f"Migrated; {told} operations logged.")


def check_pauses() -> HealthItem:
    """Name the providers that operators have paused.

    Raises:
        DatabaseError: It does not answer.
    """
    paused = paused_providers().values()
    if not paused:
        return HealthItem(name="pauses", status="ok", message="No provider is paused.")
    told = "; ".join(
        f"{each.alias!r} since {each.since:%Y-%m-%d %H:%M}"
        + (f" until {each.until:%Y-%m-%d %H:%M}" if each.until else "")
        for each in paused
    )
    hint = "The page of AI providers in the admin says why, and resumes them."
    return HealthItem(name="pauses", status="warning", message=f"Paused: {told}.", hint=hint)


def check_cache() -> HealthItem:
    """Say whether the response cache keeps what it is given, for all processes.

    Raises:
        ConfigurationError: There is no such cache.
    """
    name = "response cache"
    alias = get_settings().cache.alias
    if alias is None:
        return HealthItem(name=name, status="ok", message="Switched off.")
    _known(alias, caches.settings, "OBC_AI['CACHE']['alias'] names", "CACHES")
    key = f"django_obc_ai:health:{secrets.token_hex(8)}"  # others may look at the same time
    caches[alias].set(key, "kept", 30)
    is_kept = caches[alias].get(key) == "kept"
    caches[alias].delete(key)
    if not is_kept:
        return HealthItem(
            name=name,
            status="warning",
            message=f"The cache {alias!r} does not keep what is written; answers are paid twice.",
            hint="Point OBC_AI['CACHE']['alias'] to a cache that stores.",
        )
    if isinstance(caches[alias], LocMemCache) and not settings.DEBUG:
        return HealthItem(
            name=name,
            status="warning",
            message=f"Each process has the cache {alias!r} to itself: with several, each pays for"
            " the same answer, and dropped tags live on in the others.",
            hint="Use Redis, Memcached or the database cache in CACHES.",
        )
    return HealthItem(name=name, status="ok", message=f"The cache {alias!r} keeps answers.")


def _known(alias: str, valid: Collection[str], names: str, setting: str) -> None:
    if alias not in valid:
        raise ConfigurationError(
            f"{names} {alias!r}, which {setting} lacks.", hint=suggest(alias, valid)
        )


def check_index(index: VectorIndex) -> HealthItem:
    """Say whether an index can be searched, and how far it is behind its rows.

    Raises:
        DatabaseError: Its database does not answer.
    """
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
    rows = DirtyRow.objects.using(index.database).filter(index_name=index.name).order_by("pk")
    waiting = rows.values("pk")[: _MOST_COUNTED + 1].count()
    chunks = replica.store.count(index.name)
    failed = IndexFailure.objects.using(index.database).filter(index_name=index.name).count()
    if failed and not waiting:
        message = f"{chunks} chunks; {failed} objects could not be indexed."
        hint = "Look at the index's page in the admin, and at the log of django_obc_ai.indexes."
        return HealthItem(name=name, status="warning", message=message, hint=hint)
    if not waiting:
        return HealthItem(name=name, status="ok", message=f"{chunks} chunks, up to date.")
    told = f"more than {_MOST_COUNTED:,}" if waiting > _MOST_COUNTED else str(waiting)
    found = list(rows.values_list("object_key", "created_at")[:_MOST_NAMED])
    seconds = (timezone.now() - found[0][1]).total_seconds() if found else 0.0
    if seconds < LATE_AFTER_SECONDS:
        message = f"{chunks} chunks; {told} changes are being indexed."
        return HealthItem(name=name, status="ok", message=message)
    keys = ", ".join(key for key, _ in found)
    message = f"{told} changes wait to be indexed, the oldest for {age(seconds)}: {keys}."
    hint += " and look at the log of django_obc_ai.indexes"
    return HealthItem(name=name, status="warning", message=message, hint=hint)
