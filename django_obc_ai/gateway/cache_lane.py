"""A shorter way to the Django cache that holds answers.

Django keeps a cache object for every thread, and looks through each key for what memcached would
not take. Two caches of its own need neither, and are asked through one object of this process:

- `LocMemCache`, whose objects share their entries and a lock;
- `RedisCache` where it is configured plainly, with one server and no options. It makes a client of
  redis-py for every command, which takes as long as the command; here a link is kept.

Keys and form are the same, so both ways find what the other has left. Any other cache is asked in
its own way.
"""

from __future__ import annotations

import os
from typing import Any

from django.core.cache import BaseCache, InvalidCacheBackendError, caches
from django.core.signals import setting_changed

from django_obc_ai.backends.coordinators.redis import RedisCoordinator
from django_obc_ai.backends.redis_link import RedisLink
from django_obc_ai.exceptions import ConfigurationError, ObcAIError, TransientError

_MEMORY = "django.core.cache.backends.locmem.LocMemCache"
_REDIS = "django.core.cache.backends.redis.RedisCache"
_TIMEOUT_SECONDS = 5.0
#: By alias. A cache object of Django's belongs to one thread, a lane to all.
_lanes: dict[str, Lane | BaseCache] = {}
#: By process and server.
_links: dict[tuple[int, str], RedisLink] = {}


class Lane:
    """Reads and writes single entries of a plain `RedisCache`."""

    def __init__(self, cache: Any, server: str) -> None:
        """Keep the cache, which knows keys and form; see `lane_to`."""
        self._cache = cache
        self._form = cache._cache._serializer  # as its own client does
        self._server = server

    def get(self, key: str) -> Any:
        """Return an entry, or None."""
        found = self._link().ask(b"GET", self._cache.make_key(key))
        return None if found is None else self._form.loads(found)

    def set(self, key: str, value: Any, seconds: int) -> None:
        """Write an entry for so many seconds."""
        name = self._cache.make_key(key)
        self._link().ask(b"SET", name, self._form.dumps(value), b"EX", seconds)

    def _link(self) -> RedisLink:
        key = (os.getpid(), self._server)
        link = _links.get(key)
        if link is None:
            link = _links.setdefault(
                key,
                RedisLink(
                    RedisCoordinator.import_sdk(),
                    url=self._server,
                    timeout_seconds=_TIMEOUT_SECONDS,
                    translate=_translated,
                ),
            )
        return link


def cache_of(alias: str) -> BaseCache:
    """Return a cache as Django keeps it for this thread.

    Raises:
        ConfigurationError: ``CACHES`` has no such entry that works.
    """
    try:
        return caches[alias]
    except InvalidCacheBackendError as error:
        raise ConfigurationError(
            f"OBC_AI['CACHE']['alias'] names the cache {alias!r}, which cannot be had.",
            hint="Name an entry of CACHES that works, or None for no cache.",
            check_id="E007",
        ) from error


def lane_to(alias: str) -> Lane | BaseCache:
    """Return the shorter way to a cache, or the cache itself.

    Raises:
        ConfigurationError: See cache_of().
    """
    lane = _lanes.get(alias)
    if lane is not None:
        return lane
    cache: Any = cache_of(alias)  # what is looked into below is not in the stubs
    kind = f"{type(cache).__module__}.{type(cache).__qualname__}"
    if kind == _MEMORY:
        lane = _lanes[alias] = own = caches.create_connection(alias)
        own.make_and_validate_key = own.make_key  # type: ignore[method-assign] # see above
    elif kind == _REDIS and _is_plain(cache):
        lane = _lanes[alias] = Lane(cache, cache._servers[0])
    return lane or cache


def _is_plain(cache: Any) -> bool:
    servers, options = getattr(cache, "_servers", []), getattr(cache, "_options", {"": ""})
    return len(servers) == 1 and not options and hasattr(cache._cache, "_serializer")


def _forget(*, setting: str, **_: Any) -> None:
    if setting == "CACHES":
        _lanes.clear()


setting_changed.connect(_forget, dispatch_uid="django_obc_ai.gateway.cache_lane")


def _translated(error: Exception) -> ObcAIError:
    return TransientError(f"The response cache could not be asked ({type(error).__name__}).")
