"""Is everything in place? One report for the command, for probes and for your own pages."""

from __future__ import annotations

import platform
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from typing import Any

import django

from django_obc_ai import __version__
from django_obc_ai.backends.coordinators import coordinators
from django_obc_ai.backends.cost_stores import cost_stores
from django_obc_ai.backends.embedders import embedders
from django_obc_ai.backends.handler import BackendHandler
from django_obc_ai.backends.lexical_stores import lexical_stores
from django_obc_ai.backends.providers import providers
from django_obc_ai.backends.task_runners import task_runners
from django_obc_ai.backends.vector_stores import vector_stores
from django_obc_ai.conf import find_errors, get_settings
from django_obc_ai.exceptions import ConfigurationError
from django_obc_ai.indexes import get_indexes
from django_obc_ai.services import _data_health as data
from django_obc_ai.services import _job_health as jobs
from django_obc_ai.services import _money_health as money
from django_obc_ai.services import _provider_health as asking
from django_obc_ai.services import _traffic_health as traffic
from django_obc_ai.services._disk import check_disk
from django_obc_ai.services._lanes import Part, expand, look_at
from django_obc_ai.services._provider_health import HealthItem, HealthReport
from django_obc_ai.services.background import read_background
from django_obc_ai.services.limits import has_limits

__all__ = ["HealthItem", "HealthReport", "check_health"]


def check_health(
    *,
    is_live: bool = False,
    provider: str = "default",
    may_ping: bool = True,
    only: Sequence[str] = (),
    timeout_seconds: float = 10.0,
) -> HealthReport:
    """Look at every configured part; spends nothing unless ``is_live``.

    Parts that may wait for something are looked at beside each other. Which there are, and what
    is found of them, is listed in docs/reference/health.md.

    Args:
        is_live: Also make one smallest possible call, at the end.
        provider: Alias of the provider that this call goes to.
        may_ping: Whether providers may be asked, without spending, if they accept the key and
            know the model.
        only: Names of parts, such as "provider default", or their first words, such as "index";
            none looks at all.
        timeout_seconds: After so long, what has not answered is told as such. The live call has
            the provider's own limits.

    Raises:
        ValueError: ``only`` names what there is not.
    """
    errors = find_errors()
    if errors:
        items = [
            HealthItem(name="settings", status="error", message=e.message, hint=e.hint)
            for e in errors
        ]
        return HealthReport(items=tuple(items))
    parts = list(_parts(may_ping=may_ping, seconds=timeout_seconds))
    found = look_at(expand(only, parts) if only else parts, timeout_seconds)
    if is_live:
        live = Part(name="live call", check=partial(asking.call_live, provider), lane="live")
        found += look_at([live], threading.TIMEOUT_MAX)
    settings = HealthItem(
        name="settings", status="ok", message="OBC_AI is valid.", detail=_versions()
    )
    return HealthReport(items=(settings, *found))


def _parts(*, may_ping: bool, seconds: float) -> Iterator[Part]:
    """Yield what there is to look at, in the order of the report."""
    for alias in providers:
        check = partial(asking.check_provider, alias, may_ping)
        yield _part(f"provider {alias}", check)
        if not _is_free(alias):
            yield _part(f"price {alias}", partial(asking.check_price, alias), "prices")
    # Any: backends of three families.
    built: dict[str, BackendHandler[Any]] = {
        "embedder": embedders,
        "vector store": vector_stores,
        "lexical store": lexical_stores,
    }
    for label, family in built.items():
        for alias in family:
            check = partial(asking.check_backend, label, family, alias)
            yield _part(f"{label} {alias}", check)
    for alias in cost_stores:
        yield _part(f"cost store {alias}", partial(money.check_cost_store, alias))
    for alias in coordinators:
        yield _part(f"coordinator {alias}", partial(traffic.check_coordinator, alias))
    for alias in providers:
        if has_limits(alias):
            yield _part(f"limits {alias}", partial(traffic.check_limits, alias), "limits")
    indexes = get_indexes()
    for alias in dict.fromkeys([get_settings().database, *(each.database for each in indexes)]):
        yield _part(f"database {alias}", partial(data.check_database, alias), "database")
    for alias in task_runners:
        yield _part(f"task runner {alias}", partial(jobs.check_runner, alias))
    look = cache(partial(read_background, may_ask_broker=False))  # one look for all three
    yield _part("jobs", partial(jobs.check_jobs, look), "jobs")
    yield _part("workers", partial(jobs.check_workers, look), "jobs")
    yield _part("schedule", partial(jobs.check_schedule, look), "jobs")
    yield _part("pauses", data.check_pauses, "database")
    yield _part("spool", asking.check_spool, "files")
    yield _part("budgets", money.check_budgets)
    # A large ledger may take longer to add up than anybody waits for; that is no fault.
    check = partial(money.check_drift, seconds)
    yield Part(name="ledger drift", check=check, lane="ledger drift", if_late="warning")
    yield _part("rollups", money.check_rollups, "database")
    yield _part("response cache", data.check_cache)
    for index in indexes:
        yield _part(f"index {index.name}", partial(data.check_index, index), "indexes")
    yield _part("disk", check_disk, "files")


def _part(name: str, check: Callable[[], HealthItem], lane: str = "") -> Part:
    return Part(name=name, check=check, lane=lane or name)


def _versions() -> str:
    """Return what a bug report needs."""
    return (
        f"django-obc-ai {__version__}, Django {django.get_version()},"
        f" Python {platform.python_version()}"
    )


def _is_free(alias: str) -> bool:
    try:
        return providers[alias].is_free
    except ConfigurationError:  # the item of the provider itself says so
        return True
