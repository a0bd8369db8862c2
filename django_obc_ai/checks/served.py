"""W021, W023, W024, W026 and W027, under ``check --deploy``: addresses that others can reach."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage
from django.urls import URLResolver, get_resolver

from django_obc_ai.checks.messages import deployment_warning
from django_obc_ai.conf import AISettings, find_errors, get_settings

#: Caches that each process has for itself, or that keep nothing.
PRIVATE_CACHES = ("locmem.LocMemCache", "dummy.DummyCache")
_API, _CHAT = "django_obc_ai_api", "django_obc_ai_chat"
_NAMES = {_CHAT: "the chat page", _API: "the REST API"}
#: What a project sets only where a proxy stands in front of it.
_TELLTALES = ("SECURE_PROXY_SSL_HEADER", "USE_X_FORWARDED_HOST", "USE_X_FORWARDED_PORT")


def check_served(**_: Any) -> list[CheckMessage]:
    """Warn of what people on the network can do in a project that has addresses of ours."""
    if find_errors() or not (served := _find_served()):
        return []
    parsed = get_settings()
    return [
        *_check_throttle_cache(parsed),
        *_check_throttles(parsed, served),
        *_check_strangers(parsed, served),
        *_check_proxies(parsed),
        *_check_sessions(parsed),
    ]


def backend_of(alias: str | None) -> str:
    """Return the dotted path of a Django cache, "" if there is none."""
    return str(settings.CACHES.get(alias, {}).get("BACKEND", "")) if alias else ""


def _find_served() -> frozenset[str]:
    """Return which of our applications the project has addresses of, however deep."""
    try:
        return frozenset(_application_names(get_resolver()))
    except Exception:  # noqa: BLE001 - a broken URLconf, which Django's own checks report
        return frozenset()


def _application_names(resolver: URLResolver) -> Iterator[str]:
    for each in resolver.url_patterns:
        if isinstance(each, URLResolver):
            if each.app_name in _NAMES:
                yield each.app_name
            else:
                yield from _application_names(each)


def _check_throttle_cache(parsed: AISettings) -> Iterator[CheckMessage]:
    """W021: throttles that each worker would count for itself."""
    alias, backend = parsed.web.throttle_cache, backend_of(parsed.web.throttle_cache)
    is_told = parsed.cache.alias == alias  # W003 says it of the same cache
    if not backend.endswith(PRIVATE_CACHES) or is_told:
        return
    yield deployment_warning(
        "W021",
        f"OBC_AI['WEB']['throttle_cache'] uses {backend.rpartition('.')[2]}, which workers do"
        " not share: everybody may ask as often as is allowed of each of them, or of none.",
        "Name a cache of Redis or Memcached.",
    )


def _check_throttles(parsed: AISettings, served: Collection[str]) -> Iterator[CheckMessage]:
    """W023: throttles that are switched off, where they would count anybody."""
    off = [name for name, rate in parsed.web.throttles.items() if rate is None]
    # Who may ask nothing is counted only where passwords and tokens can be tried out.
    if parsed.web.anonymous_scope is None and _API not in served:
        off = [name for name in off if name != "anon"]
    if not off:
        return
    effect = "one person may use up what all may ask"
    if _API in served and {"anon", "burst"} <= {*off}:
        effect += ", and try any number of passwords at the REST API"
    names = " and ".join(map(repr, off))
    yield deployment_warning(
        "W023",
        f"OBC_AI['WEB']['throttles'] switches off {names}: {effect}.",
        f"Remove {names} there, which brings back the default, or write a rate such as"
        " '1000/hour'.",
    )


def _check_strangers(parsed: AISettings, served: Collection[str]) -> Iterator[CheckMessage]:
    """W024: people who did not log in may ask; that should be known, not happen."""
    scope = parsed.web.anonymous_scope
    if scope is None:
        return
    where = " and ".join(text for name, text in _NAMES.items() if name in served)
    yield deployment_warning(
        "W024",
        f"OBC_AI['WEB']['anonymous_scope'] is {scope!r}: everybody who can reach {where} may ask"
        " without logging in.",
        "Set it to None, so that people log in first. If it is meant so, add"
        " 'django_obc_ai.W024' to SILENCED_SYSTEM_CHECKS.",
    )


def _check_proxies(parsed: AISettings) -> Iterator[CheckMessage]:
    """W026: behind a proxy that is not counted, all people have one address."""
    told = next((name for name in _TELLTALES if getattr(settings, name, None)), None)
    if told is None or parsed.web.trusted_proxies:
        return
    yield deployment_warning(
        "W026",
        f"{told} says that a proxy stands in front, but OBC_AI['WEB']['trusted_proxies'] is 0:"
        " throttles take the proxy's address for everybody's, and count all people as one.",
        "Set it to the number of proxies of yours that add to X-Forwarded-For, usually 1.",
    )


def _check_sessions(parsed: AISettings) -> Iterator[CheckMessage]:
    """W027: sessions that only the worker knows which made them."""
    if settings.SESSION_ENGINE != "django.contrib.sessions.backends.cache":
        return
    alias = settings.SESSION_CACHE_ALIAS
    backend = backend_of(alias)
    is_told = alias in (parsed.cache.alias, parsed.web.throttle_cache)  # by W003 or W021
    if not backend.endswith(PRIVATE_CACHES) or is_told:
        return
    yield deployment_warning(
        "W027",
        f"Sessions are kept in the cache {alias!r}, a {backend.rpartition('.')[2]}, which workers"
        " do not share: logins and conversations of one are unknown to the others.",
        "Let SESSION_CACHE_ALIAS name a shared cache, or use the engine 'cached_db' or 'db' of"
        " django.contrib.sessions.backends.",
    )
