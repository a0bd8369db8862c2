"""How often one person may ask: counted for all workers in the Django cache.

It keeps single people from using up what all may ask; money is kept by budgets, which need no
cache. Requests are counted in fixed windows, and a window's count is added to what is left of the
one before, weighted by how much of it the last period still covers (the sliding window counter).
The count itself is one atomic step where the cache has one, as Redis and Memcached do.
"""

from __future__ import annotations

import hashlib
import ipaddress
import math
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from django.core.cache import caches

from django_obc_ai.conf import get_settings
from django_obc_ai.logs import events
from django_obc_ai.types.settings import Rate

_clock = time.time
_AWAY_SECONDS = 30
_IPV6_PREFIX = 64  # what one customer has


def seconds_to_wait(request: Any) -> int:
    """Count a request; return 0 if it may go on, else after how many seconds to come again.

    Where the cache cannot be reached, people who logged in may go on and others not.
    """
    try:
        return max((_take(*limit) for limit in _limits(request)), default=0)
    except Exception as error:  # noqa: BLE001 - each cache has errors of its own
        events.WEB_THROTTLE_AWAY.log(error=error)
        return 0 if request.user.is_authenticated else _AWAY_SECONDS


def address_of(request: Any) -> str:
    """Return the address of the client, as far as it can be trusted.

    ``X-Forwarded-For`` can be written by anybody; with ``trusted_proxies`` in front, the entry
    that the outermost of them added is taken, and without any, none.
    """
    address = str(request.META.get("REMOTE_ADDR", ""))
    proxies = get_settings().web.trusted_proxies
    if proxies:
        listed = [each.strip() for each in request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")]
        address = listed[-min(proxies, len(listed))] or address
    return address


def _limits(request: Any) -> Iterator[tuple[str, str, Rate]]:
    user = request.user
    whose = f"user {user.pk}" if user.is_authenticated else f"address {_network(request)}"
    for name in ("user" if user.is_authenticated else "anon", "burst"):
        rate = get_settings().web.throttles[name]
        if rate is not None:
            yield name, whose, rate


def _network(request: Any) -> str:
    address = address_of(request)
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address  # a socket of the host itself
    if parsed.version == 4:
        return address
    return str(ipaddress.ip_network((parsed, _IPV6_PREFIX), strict=False))


def _take(name: str, whose: str, rate: Rate) -> int:
    now = _clock()
    window, since = divmod(now, rate.seconds)
    # Hashed: addresses are personal data, and keys of caches are seen by many.
    hashed = hashlib.sha256(f"{name} {rate.seconds} {whose}".encode()).hexdigest()[:32]
    cache = caches[get_settings().web.throttle_cache]
    here, before = (f"django_obc_ai:throttle:{hashed}:{int(window) - n}" for n in (0, 1))
    earlier = int(cache.get(before, 0))
    cache.add(here, 0, timeout=2 * rate.seconds)
    try:
        count = cache.incr(here)
    except ValueError:  # it was dropped in between
        cache.set(here, 1, timeout=2 * rate.seconds)
        count = 1
    left = rate.requests - count
    if left >= 0 and earlier * (rate.seconds - since) <= left * rate.seconds:
        return 0
    with suppress(ValueError):
        cache.decr(here)  # what is refused does not count
    share = rate.seconds / rate.requests if left < 0 else -rate.seconds * left / earlier
    return max(1, math.ceil(rate.seconds - since + share))
