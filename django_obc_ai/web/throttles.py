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
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from django.core.cache import BaseCache, caches

from django_obc_ai.conf import get_settings
from django_obc_ai.logs import events
from django_obc_ai.types.settings import Rate
from django_obc_ai.web.people import is_known

_clock = time.time
_AWAY_SECONDS = 30
_IPV6_PREFIX = 64  # what one customer has
#: RFC 6052: how a network of IPv6 alone writes the addresses of IPv4.
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def seconds_to_wait(request: Any) -> int:
    """Count a request; return 0 if it may go on, else after how many seconds to come again.

    Where the cache cannot be reached, people who logged in may go on and others not.
    """
    user: Any = getattr(request, "user", None)
    try:
        if is_known(user):
            return _take_all(_limits("user", f"user {user.pk}"))
        return _take_all(_limits("anon", f"address {_network(request)}"))
    except Exception as error:  # noqa: BLE001 - each cache has errors of its own
        events.WEB_THROTTLE_AWAY.log(error=error)
        return 0 if getattr(user, "is_authenticated", False) else _AWAY_SECONDS


def seconds_to_log_in(request: Any) -> int:
    """Return 0 if an address may try to log in, else after how many seconds to come again.

    Counts nothing: see `count_failed_login`.
    """
    try:
        until = float(_cache().get(_blocked(request), 0))
    except Exception as error:  # noqa: BLE001 - as above; people who log in may go on
        events.WEB_THROTTLE_AWAY.log(error=error)
        return 0
    return max(0, math.ceil(until - _clock()))


def count_failed_login(request: Any) -> int:
    """Count a wrong password or token by its address; return what `seconds_to_wait` does.

    An address that has tried as often as it may is not told either that the next one is right:
    see `seconds_to_log_in`.
    """
    try:
        wait = _take_all(_limits("anon", f"login {_network(request)}"))
        if wait:
            _cache().set(_blocked(request), _clock() + wait, timeout=wait)
    except Exception as error:  # noqa: BLE001 - as above
        events.WEB_THROTTLE_AWAY.log(error=error)
        return _AWAY_SECONDS
    return wait


def address_of(request: Any) -> str:
    """Return the address of the client, as far as it can be trusted.

    ``X-Forwarded-For`` can be written by anybody; with ``trusted_proxies`` in front, the entry
    that the outermost of them added is taken, and without any, none.
    """
    address = str(request.META.get("REMOTE_ADDR", ""))
    proxies = get_settings().web.trusted_proxies
    if proxies:
        listed = [each.strip() for each in request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")]
        address = _without_port(listed[-min(proxies, len(listed))]) or address
    return address


def _without_port(entry: str) -> str:
    if entry.startswith("["):
        return entry[1:].partition("]")[0]
    # More than one colon is an IPv6 address, which has a port only in brackets.
    return entry.partition(":")[0] if entry.count(":") == 1 else entry


def _network(request: Any) -> str:
    address = address_of(request)
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address  # a socket of the host itself
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    # Both are somebody's own IPv4 address, as a server or gateway of IPv6 writes it.
    if parsed in _NAT64:
        return str(ipaddress.IPv4Address(int(parsed) & 0xFFFF_FFFF))
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, _IPV6_PREFIX), strict=False))


def _limits(first: str, whose: str) -> Iterator[tuple[str, str, Rate]]:
    for name in (first, "burst"):
        rate = get_settings().web.throttles[name]
        if rate is not None:
            yield name, whose, rate


def _take_all(limits: Iterable[tuple[str, str, Rate]]) -> int:
    """Count by all limits; if one refuses, by none of them."""
    taken = [_take(*each) for each in limits]
    wait = max((seconds for seconds, _, _ in taken), default=0)
    if wait:
        for _, here, rate in taken:
            with suppress(ValueError):  # it was dropped in between
                _add(here, -1, rate)
    return wait


def _take(name: str, whose: str, rate: Rate) -> tuple[int, str, Rate]:
    """Count by one limit; return for how long it refuses, and where it counted."""
    window, since = divmod(_clock(), rate.seconds)
    hashed = _hash(f"{name} {rate.seconds} {whose}")
    cache = _cache()
    here, before = (f"django_obc_ai:throttle:{hashed}:{int(window) - n}" for n in (0, 1))
    earlier = int(cache.get(before, 0))
    cache.add(here, 0, timeout=2 * rate.seconds)
    try:
        count = _add(here, 1, rate)
    except ValueError:  # it was dropped in between
        cache.set(here, 1, timeout=2 * rate.seconds)
        count = 1
    left = rate.requests - count
    if left >= 0 and earlier * (rate.seconds - since) <= left * rate.seconds:
        return 0, here, rate
    share = rate.seconds / rate.requests if left < 0 else -rate.seconds * left / earlier
    return max(1, math.ceil(rate.seconds - since + share)), here, rate


def _add(key: str, step: int, rate: Rate) -> int:
    """Add to a count that is there, in one step where the cache has one.

    Raises:
        ValueError: There is none.
    """
    cache = _cache()
    if type(cache).incr is not BaseCache.incr:
        return int(cache.incr(key, step))
    # The base class's reads and writes, with the cache's own timeout: it may end in the window.
    count = cache.get(key)
    if count is None:
        raise ValueError(key)
    cache.set(key, int(count) + step, timeout=2 * rate.seconds)
    return int(count) + step


def _cache() -> BaseCache:
    return caches[get_settings().web.throttle_cache]


def _blocked(request: Any) -> str:
    return f"django_obc_ai:blocked:{_hash(_network(request))}"


def _hash(text: str) -> str:
    # Addresses are personal data, and keys of caches are seen by many.
    return hashlib.sha256(text.encode()).hexdigest()[:32]
