"""``OBC_AI["WEB"]``: the REST API and the chat page, as people on the network meet them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from django.utils.module_loading import import_string

from django_obc_ai.conf.values import as_mapping, as_positive, as_text, only_keys, wrong_type
from django_obc_ai.exceptions import ConfigurationError
from django_obc_ai.types.settings import Rate, WebSettings

_NAMES = (
    "anonymous_scope",
    "may_ask",
    "throttles",
    "throttle_cache",
    "trusted_proxies",
    "max_body_bytes",
    "keep_alive_seconds",
)
_THROTTLES = {"anon": "100/hour", "user": "1000/hour", "burst": "60/minute"}
_PERIODS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}
_RATE = re.compile(r"(\d{1,9})/([a-z]{1,7})")
_WHOLE = "a whole number above 0"


def parse_web(value: Any, where: str) -> WebSettings:
    """Return the settings of API and chat page, completed with defaults."""
    entry = as_mapping(value, where)
    only_keys(entry, _NAMES, where)
    scope = entry.get("anonymous_scope")
    if scope is not None:
        scope = as_text(scope, f"{where}['anonymous_scope']")
    rule = entry.get("may_ask")
    if not (rule is None or isinstance(rule, str) or callable(rule)):
        raise wrong_type(f"{where}['may_ask']", rule, "a function, its dotted path, or None")
    proxies = entry.get("trusted_proxies", 0)
    if isinstance(proxies, bool) or not isinstance(proxies, int) or proxies < 0:
        raise wrong_type(f"{where}['trusted_proxies']", proxies, "a whole number, 0 or above")
    most, alive = entry.get("max_body_bytes", 65_536), entry.get("keep_alive_seconds", 15)
    as_positive(alive, f"{where}['keep_alive_seconds']", (int, float), "seconds above 0")
    return WebSettings(
        anonymous_scope=scope,
        may_ask=rule,
        throttles=_throttles(entry.get("throttles", {}), f"{where}['throttles']"),
        throttle_cache=as_text(
            entry.get("throttle_cache", "default"), f"{where}['throttle_cache']"
        ),
        trusted_proxies=proxies,
        max_body_bytes=as_positive(most, f"{where}['max_body_bytes']", int, _WHOLE),
        keep_alive_seconds=float(alive),
    )


def load_may_ask(web: WebSettings) -> Callable[[Any], bool] | None:
    """Return the project's rule for who may ask; None if there is none.

    Raises:
        ConfigurationError: It names nothing that can be called.
    """
    rule = web.may_ask
    hint = "Give a function, or its dotted path, that takes a user and returns True or False."
    if isinstance(rule, str):
        try:
            rule = import_string(rule)
        except ImportError as error:
            text = f"OBC_AI['WEB']['may_ask'] cannot be imported: {error}."
            raise ConfigurationError(text, hint=hint, check_id="E003") from error
        if not callable(rule):
            text = "OBC_AI['WEB']['may_ask'] names something that cannot be called."
            raise ConfigurationError(text, hint=hint, check_id="E003")
    return rule


def _throttles(value: Any, where: str) -> dict[str, Rate | None]:
    given = as_mapping(value, where)
    only_keys(given, _THROTTLES, where)
    rates = {**_THROTTLES, **given}
    return {name: _rate(rate, f"{where}[{name!r}]") for name, rate in rates.items()}


def _rate(value: Any, where: str) -> Rate | None:
    """Read "100/hour"; as in Django REST framework, the first letter of the period decides."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise wrong_type(where, value, 'a rate such as "100/hour", or None')
    found = _RATE.fullmatch(value)
    seconds = [
        seconds
        for period, seconds in _PERIODS.items()
        if found and (period.startswith(found[2]) or found[2] == f"{period}s")
    ]
    if not (found and seconds and int(found[1])):
        hint = 'Write it "100/hour": a number above 0, and second, minute, hour or day.'
        raise ConfigurationError(f"{where} is no rate.", hint=hint)
    return Rate(requests=int(found[1]), seconds=seconds[0])
