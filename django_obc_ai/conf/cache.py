"""``OBC_AI["CACHE"]``: where answers are kept, for how long, and what makes them stale."""

from __future__ import annotations

from typing import Any

from django_obc_ai.conf.values import (
    as_function,
    as_mapping,
    as_positive,
    as_text,
    only_keys,
    wrong_type,
)
from django_obc_ai.exceptions import ConfigurationError
from django_obc_ai.types.settings import CacheSettings

DEFAULT_TTL_SECONDS = {"analysis": 86_400, "static": 604_800, "chat": 3_600}
_NAMES = (
    "alias", "ttl_seconds", "stale_seconds", "compress_over_bytes", "max_bytes", "models", "warm",
)  # fmt: skip
_WHOLE = "a whole number above 0"


def parse_cache(value: Any, where: str) -> CacheSettings:
    """Return the settings of the response cache, completed with defaults."""
    entry = as_mapping(value, where)
    only_keys(entry, _NAMES, where)
    alias = entry.get("alias", "default")
    if alias is not None:
        as_text(alias, f"{where}['alias']")
    ttl = as_mapping(entry.get("ttl_seconds", {}), f"{where}['ttl_seconds']")
    for name, seconds in ttl.items():
        as_positive(seconds, f"{where}['ttl_seconds'][{name!r}]", int, _WHOLE)
    stale = entry.get("stale_seconds", 0)
    if stale != 0 or isinstance(stale, bool) or not isinstance(stale, int):
        as_positive(stale, f"{where}['stale_seconds']", int, "a whole number, 0 or more")
    return CacheSettings(
        alias=alias,
        ttl_seconds={**DEFAULT_TTL_SECONDS, **ttl},
        stale_seconds=stale,
        compress_over_bytes=as_positive(
            entry.get("compress_over_bytes", 2_048), f"{where}['compress_over_bytes']", int, _WHOLE
        ),
        max_bytes=as_positive(
            entry.get("max_bytes", 1_000_000), f"{where}['max_bytes']", int, _WHOLE
        ),
        models=_models(entry.get("models", ()), f"{where}['models']"),
        warm=as_function(entry.get("warm"), f"{where}['warm']"),
    )


def _models(value: Any, where: str) -> tuple[str, ...]:
    wanted = 'a list of models such as "app_label.Model"'
    if not isinstance(value, (list, tuple)):
        raise wrong_type(where, value, wanted)
    labels = tuple(as_text(each, f"{where}[{number}]") for number, each in enumerate(value))
    for number, label in enumerate(labels):
        if label.count(".") != 1:
            raise ConfigurationError(f"{where}[{number}] names no model.", hint=f"Give {wanted}.")
    return labels
