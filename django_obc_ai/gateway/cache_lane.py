"""A shorter way to a Django cache that is Redis.

Django's `RedisCache` makes a client of redis-py for every command, which takes as long as the
command. Where it is configured plainly, with one server and no options, its entries are read and
written here under the same keys and in the same form, so both ways find what the other has left.
Any other cache is asked in its own way.
"""

from __future__ import annotations

import os
from typing import Any

from django.core.cache import BaseCache

from django_obc_ai.backends.coordinators.redis import RedisCoordinator
from django_obc_ai.backends.redis_link import RedisLink
from django_obc_ai.exceptions import ObcAIError, TransientError

_PLAIN = "django.core.cache.backends.redis.RedisCache"
_TIMEOUT_SECONDS = 5.0
#: By process and server. A cache object of Django's belongs to one thread, a link to all.
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
        found = self._link().ask(b"GET", self._cache.make_and_validate_key(key))
        return None if found is None else self._form.loads(found)

    def set(self, key: str, value: Any, seconds: int) -> None:
        """Write an entry for so many seconds."""
        name = self._cache.make_and_validate_key(key)
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


def lane_to(cache: BaseCache) -> Lane | BaseCache:
    """Return the shorter way to a cache, or the cache itself."""
    lane: Lane | None = getattr(cache, "_obc_ai_lane", None)
    if lane is not None:
        return lane
    kind = type(cache)
    if f"{kind.__module__}.{kind.__qualname__}" != _PLAIN:
        return cache
    plain: Any = cache  # its attributes are not in the stubs
    servers, options = getattr(plain, "_servers", []), getattr(plain, "_options", {"": ""})
    if len(servers) != 1 or options or not hasattr(plain._cache, "_serializer"):
        return cache
    plain._obc_ai_lane = lane = Lane(plain, servers[0])
    return lane


def _translated(error: Exception) -> ObcAIError:
    return TransientError(f"The response cache could not be asked ({type(error).__name__}).")
