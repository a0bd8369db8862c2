"""``OBC_AI["RATE_LIMITS"]``, ``["FALLBACKS"]`` and ``["BREAKER"]``."""

from __future__ import annotations

import zoneinfo
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from django_obc_ai.conf.values import as_mapping, as_positive, as_text, only_keys, wrong_type
from django_obc_ai.exceptions import ConfigurationError
from django_obc_ai.types.settings import BreakerSettings, RateLimitSettings

_COUNTS = ("per_minute", "tokens_per_minute", "per_day")
_ACTIONS = ("wait", "refuse", "queue")
_NO_LIMITS = RateLimitSettings(per_minute=None, tokens_per_minute=None, per_day=None)


def parse_rate_limits(value: Any, where: str) -> Mapping[str, RateLimitSettings]:
    """Return limits by alias of a provider; None for an alias is no limit."""
    found = {}
    for alias, given in as_mapping(value, where).items():
        at = f"{where}[{alias!r}]"
        found[alias] = _NO_LIMITS if given is None else _limits(given, at)
    return MappingProxyType(found)


def _limits(value: Any, at: str) -> RateLimitSettings:
    entry = as_mapping(value, at)
    only_keys(entry, (*_COUNTS, "day_starts", "when_exceeded"), at)
    counts = {name: entry[name] for name in _COUNTS if name in entry}
    for name, count in counts.items():
        if count is not None:
            wanted = "a whole number above 0, or None for no limit"
            as_positive(count, f"{at}[{name!r}]", int, wanted)
    zone, action = (
        entry.get("day_starts", "America/Los_Angeles"),
        entry.get("when_exceeded", "wait"),
    )
    try:
        zoneinfo.ZoneInfo(as_text(zone, f"{at}['day_starts']"))
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        raise ConfigurationError(
            f"{at}['day_starts'] is no time zone.",
            hint="Give the zone in which the provider's day begins: 'America/Los_Angeles'.",
        ) from None
    if action not in _ACTIONS:
        raise ConfigurationError(
            f"{at}['when_exceeded'] is none of {', '.join(map(repr, _ACTIONS))}.",
            hint="Give one of them.",
        )
    return RateLimitSettings(**counts, day_starts=zone, when_exceeded=action)


def parse_fallbacks(value: Any, where: str) -> Mapping[str, tuple[str, ...]]:
    """Return for an alias of a provider those that are asked in its place, in order."""
    found = {}
    for alias, given in as_mapping(value, where).items():
        at = f"{where}[{alias!r}]"
        if not isinstance(given, (list, tuple)):
            raise wrong_type(at, given, "a list of aliases")
        others = tuple(as_text(each, f"{at}[{number}]") for number, each in enumerate(given))
        if alias in others or len(set(others)) < len(others):
            raise ConfigurationError(
                f"{at} names {alias!r} itself, or an alias twice.",
                hint="Name each other alias once; a second try is for OBC_AI['RETRY'].",
            )
        found[alias] = others
    return MappingProxyType(found)


def parse_breaker(value: Any, where: str) -> BreakerSettings:
    """Return when a failing provider is left alone, and for how long."""
    entry = as_mapping(value, where)
    only_keys(entry, ("failures", "open_seconds"), where)
    failures, seconds = entry.get("failures", 5), entry.get("open_seconds", 30)
    if failures is not None:
        wanted = "a whole number above 0, or None for no breaker"
        as_positive(failures, f"{where}['failures']", int, wanted)
    as_positive(seconds, f"{where}['open_seconds']", (int, float), "seconds above 0")
    return BreakerSettings(failures=failures, open_seconds=float(seconds))
