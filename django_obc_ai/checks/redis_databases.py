"""W028: a database of Redis in which clearing the cache deletes what must stay."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, TypeAlias
from urllib.parse import parse_qs, urlsplit

from django.conf import settings
from django.core.checks import CheckMessage

from django_obc_ai.backends.coordinators import coordinators
from django_obc_ai.backends.cost_stores import cost_stores
from django_obc_ai.backends.task_runners import task_runners
from django_obc_ai.backends.task_runners.celery import CeleryRunner
from django_obc_ai.checks.messages import deployment_warning
from django_obc_ai.exceptions import ConfigurationError

#: Both empty the whole database in `clear`, whatever their key prefix is.
_CACHES = ("django.core.cache.backends.redis.RedisCache", "django_redis.cache.RedisCache")
_SCHEMES = {"redis", "rediss", "valkey", "valkeys", "unix", "redis+socket"}
_LOCAL = ("", "localhost", "127.0.0.1", "::1")
_USUAL_PORT = 6379
#: A server, or the path of its socket, with a port and the number of a database.
_Database: TypeAlias = tuple[str, int, str]


def check_redis_databases() -> Iterator[CheckMessage]:
    """Warn of money, flights and tasks in the database of a cache, once for each cache."""
    ours = list(_of_ours())
    for alias, options in settings.CACHES.items():
        if options.get("BACKEND") not in _CACHES:
            continue
        databases = set(_of_cache(options))
        found = [where for where, database in ours if database in databases]
        if found:
            yield deployment_warning(
                "W028",
                f"CACHES[{alias!r}] and {' and '.join(found)} share one database of Redis: clearing"
                " the cache empties it, and a memory limit that suits a cache evicts the rest.",
                "Give the cache a database of its own, by another number at the end of its URL, or"
                " better a server of its own.",
            )


def _of_ours() -> Iterator[tuple[str, _Database]]:
    for family in (cost_stores, coordinators):
        try:
            url = family["default"].server
        except ConfigurationError:  # check_backends reports it
            continue
        if url and (database := _parse(url)):
            yield family.where("default"), database
    for alias in task_runners:
        try:
            runner = task_runners[alias]
            if not isinstance(runner, CeleryRunner):
                continue
            conf = runner.app.conf
        except ConfigurationError:  # check_backends reports it
            continue
        url = conf.broker_write_url or conf.broker_url or ""
        if isinstance(url, str) and (database := _parse(url)):
            yield f"the broker of {task_runners.where(alias)}", database


def _of_cache(options: dict[str, Any]) -> Iterator[_Database]:
    location = options.get("LOCATION") or ()
    urls = re.split("[;,]", location) if isinstance(location, str) else location
    # Django hands these options to the connection; what stands in the URL goes first.
    number = (options.get("OPTIONS") or {}).get("db", 0)
    for url in urls:
        if database := _parse(str(url), str(number)):
            yield database


def _parse(url: str, number: str = "0") -> _Database | None:
    """Return where a URL leads, without its password; None if it is no URL of Redis."""
    try:
        parts = urlsplit(url.strip())
        port = parts.port or _USUAL_PORT
    except ValueError:
        return None
    if parts.scheme not in _SCHEMES:
        return None
    query = parse_qs(parts.query)
    asked = query.get("db") or query.get("virtual_host")
    if parts.scheme in ("unix", "redis+socket"):
        return parts.path, 0, asked[0] if asked else number
    host = (parts.hostname or "").lower()
    path = parts.path.strip("/")
    return "" if host in _LOCAL else host, port, asked[0] if asked else path or number
