"""E021 and E022: what people on the network may ask, and how it is counted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage

from django_obc_ai.backends.providers import providers
from django_obc_ai.checks.messages import error, from_exception
from django_obc_ai.conf import AISettings, find_errors, get_settings, suggest
from django_obc_ai.conf.web import load_may_ask
from django_obc_ai.exceptions import ConfigurationError


def check_web(**_: Any) -> list[CheckMessage]:
    """Report a cache or rule that is none, and people without a name whom no budget stops."""
    if find_errors():
        return []
    parsed = get_settings()
    return [*_bad_rule(parsed), *_unknown_cache(parsed), *_unbounded(parsed)]


def _bad_rule(parsed: AISettings) -> Iterator[CheckMessage]:
    try:
        load_may_ask(parsed.web)
    except ConfigurationError as exception:
        yield from_exception(exception)


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
    if scope is None or not any(map(costs_money, providers)):
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


def costs_money(alias: str) -> bool:
    """Return whether calls of a provider cost money, as far as it can be built."""
    try:
        return not providers[alias].is_free
    except ConfigurationError:  # check_backends reports it
        return False
