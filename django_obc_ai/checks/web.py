"""E021, E022 and W021: what people on the network may ask, and how it is counted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage
from django.urls import get_resolver

from django_obc_ai.backends.providers import providers
from django_obc_ai.checks.messages import error, warning
from django_obc_ai.conf import AISettings, find_errors, get_settings, suggest
from django_obc_ai.exceptions import ConfigurationError

#: Caches that each process has for itself, or that keep nothing.
PRIVATE_CACHES = ("locmem.LocMemCache", "dummy.DummyCache")
_APPS = ("django_obc_ai_api", "django_obc_ai_chat")


def check_web(**_: Any) -> list[CheckMessage]:
    """Report a cache that is none, and people without a name whom no budget stops."""
    if find_errors():
        return []
    parsed = get_settings()
    return [*_unknown_cache(parsed), *_unbounded(parsed)]


def check_shared_throttles(**_: Any) -> list[CheckMessage]:
    """Warn of throttles that each worker would count for itself."""
    if find_errors():
        return []
    parsed = get_settings()
    alias, backend = parsed.web.throttle_cache, _backend_of(parsed.web.throttle_cache)
    is_told = parsed.cache.alias == alias  # W003 says it of the same cache
    if not backend.endswith(PRIVATE_CACHES) or is_told or not _is_served():
        return []
    return [
        warning(
            "W021",
            f"OBC_AI['WEB']['throttle_cache'] uses {backend.rpartition('.')[2]}, which workers do"
            " not share: everybody may ask as often as is allowed of each of them, or of none.",
            "Name a cache of Redis or Memcached.",
        )
    ]


def _backend_of(alias: str) -> str:
    return str(settings.CACHES.get(alias, {}).get("BACKEND", ""))


def _is_served() -> bool:
    """Return whether the project has any of our addresses."""
    try:
        known = get_resolver().app_dict
    except Exception:  # noqa: BLE001 - a broken URLconf, which Django's own checks report
        return False
    return any(name in known for name in _APPS)


def _unknown_cache(parsed: AISettings) -> Iterator[CheckMessage]:
    alias = parsed.web.throttle_cache
    if alias not in settings.CACHES:
        yield error(
            "E021",
            f"OBC_AI['WEB']['throttle_cache'] names the cache {alias!r}, which CACHES lacks.",
            suggest(alias, settings.CACHES),
        )


def _unbounded(parsed: AISettings) -> Iterator[CheckMessage]:
    scope = parsed.web.anonymous_scope
    if scope is None or not any(map(_costs, providers)):
        return
    if any(
        each.enforce and each.scope == "tenant" and each.key in ("", scope)
        for each in parsed.budgets
    ):
        return
    yield error(
        "E022",
        f"OBC_AI['WEB']['anonymous_scope'] lets people ask who did not log in, and no budget of the"
        f" scope {scope!r} stops what that costs.",
        f"Add to OBC_AI['BUDGETS']: {{'scope': 'tenant', 'key': {scope!r}, 'period': 'day',"
        " 'limit_usd': '1.00', 'enforce': True}.",
    )


def _costs(alias: str) -> bool:
    try:
        return not providers[alias].is_free
    except ConfigurationError:  # check_backends reports it
        return False
