"""The exact response cache on a Django cache alias.

The key is a keyed hash of everything that shapes an answer: backend, options, model,
system instruction, history, sources, prompt, schema, sampling, tenant scope, and the
user where a context says that its text varies by user. Only finished, unblocked answers
are stored. A cache that fails is a miss, logged; it never fails a call.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.core.cache import BaseCache, InvalidCacheBackendError, caches
from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.utils.crypto import salted_hmac

from django_obc_ai.backends.providers import providers
from django_obc_ai.conf import get_settings
from django_obc_ai.exceptions import ConfigurationError
from django_obc_ai.logs import events
from django_obc_ai.types import CallInfo, GenerationRequest, ProviderResponse

_SECRET_OPTIONS = frozenset({"api_key"})
_TAG_TTL_SECONDS = 90 * 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    response: ProviderResponse
    cost_usd: Decimal
    entry: UUID
    is_stale: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    entry: UUID
    stored_bytes: int


def _cache() -> BaseCache | None:
    alias = get_settings().cache.alias
    try:
        return None if alias is None else caches[alias]
    except InvalidCacheBackendError as error:
        raise ConfigurationError(
            f"OBC_AI['CACHE']['alias'] names the cache {alias!r}, which cannot be had.",
            hint="Name an entry of CACHES that works, or None for no cache.",
            check_id="E007",
        ) from error


def _ttl_of(info: CallInfo) -> int:
    if info.cache_ttl_seconds is not None:
        return info.cache_ttl_seconds
    return get_settings().cache.ttl_seconds.get(info.content_type, 0)


def _plain(value: Any) -> Any:
    """Return dataclasses and mappings as what json can sort and write."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    return repr(value)


def digest(purpose: str, value: Any) -> str:
    """Return a keyed SHA-256 of a value's canonical JSON, 64 hex digits."""
    canonical = json.dumps(value, default=_plain, sort_keys=True, separators=(",", ":"))
    return salted_hmac(f"django_obc_ai.{purpose}", canonical, algorithm="sha256").hexdigest()


def is_shareable(info: CallInfo) -> bool:
    """Return whether a call may take an answer that another one was given.

    One that varies by user is shared with nobody where the user is not known.
    """
    return info.use_cache and not (info.varies_by_user and info.user_id is None)


def entry_of(request: GenerationRequest, info: CallInfo) -> UUID:
    """Return the name of a request's entry; it reveals nothing about the prompt."""
    spec = providers.spec(info.provider)
    options = {name: v for name, v in spec.options.items() if name not in _SECRET_OPTIONS}
    parts = {
        "backend": [info.provider, spec.path, options],
        "request": request,
        "scope": info.scope,
        "user": repr(info.user_id) if info.varies_by_user else None,
    }
    return UUID(hex=digest("cache", parts)[:32])


def key_of(entry: UUID) -> str:
    """Return the key of an entry in the Django cache."""
    return f"django_obc_ai:answer:{entry.hex}"


def get(request: GenerationRequest, info: CallInfo) -> Found | None:
    """Return a stored answer whose tags are unchanged, what it cost and its entry, or None."""
    cache = _cache()
    if cache is None or not is_shareable(info):
        return None
    try:
        name = entry_of(request, info)
        entry = cache.get(key_of(name))
        if not entry or entry["tags"] != dict(info.cache_tags):
            return None
        # Another caller may have stored it for longer than this one accepts.
        ttl = _ttl_of(info)
        if ttl and time.time() - entry["at"] > ttl:
            return None
        answer = ProviderResponse(text=entry["text"], model=entry["model"])
        return Found(response=answer, cost_usd=entry["cost"], entry=name)
    except Exception as error:  # noqa: BLE001 - any client library: the cache is a convenience
        events.CACHE_READ_FAILED.log(error=error)
        return None


def put(
    request: GenerationRequest, info: CallInfo, response: ProviderResponse, *, cost_usd: Decimal
) -> Stored | None:
    """Store a finished answer and what it cost; do nothing for any other.

    Returns:
        The entry that may hold the answer now, even if the cache failed; None if none does.
    """
    ttl = _ttl_of(info)
    if not ttl or not info.use_cache or response.finish_reason != "stop":
        return None
    name: UUID | None = None
    entry = {
        "text": response.text,
        "model": response.model,
        "cost": cost_usd,
        "tags": dict(info.cache_tags),
        "at": time.time(),
    }
    try:  # whatever fails: the answer is paid for and must be delivered
        cache = _cache()
        if cache is not None:
            name = entry_of(request, info)
            cache.set(key_of(name), entry, ttl)
    except Exception as error:  # noqa: BLE001 - see get()
        events.CACHE_WRITE_FAILED.log(error=error)
    return None if name is None else Stored(entry=name, stored_bytes=len(response.text))


def texts_of(entries: Collection[UUID]) -> dict[UUID, str]:
    """Return the texts of those entries that are still there; it raises what the cache raises."""
    cache = _cache()
    keys = {key_of(each): each for each in entries}
    found = {} if cache is None else cache.get_many(keys)
    return {keys[key]: str(entry["text"]) for key, entry in found.items()}


def forget(entries: Collection[UUID]) -> None:
    """Delete entries. Unlike the rest it raises what the cache raises: they may be there still."""
    cache = _cache()
    if cache is not None and entries:
        cache.delete_many([key_of(each) for each in entries])


def read_tags(names: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Return each tag with its present version; call it before reading the rows.

    A version that is missing is made up and stored, so that nothing stored before a
    tag was lost can be served after it.
    """
    wanted = {_tag_key(name): name for name in sorted(set(names))}
    cache = _cache()
    if cache is None or not wanted:
        return ()
    try:
        found = cache.get_many(wanted)
        for key in wanted.keys() - found.keys():
            cache.add(key, secrets.token_hex(8), _TAG_TTL_SECONDS)
            found[key] = cache.get(key) or secrets.token_hex(8)
    except Exception as error:  # noqa: BLE001 - see get(); unknown versions make a miss
        events.CACHE_TAGS_FAILED.log(error=error)
        found = {key: secrets.token_hex(8) for key in wanted}
    return tuple((name, found[key]) for key, name in wanted.items())


def invalidate_tags(names: Iterable[str], *, using: str = DEFAULT_DB_ALIAS) -> None:
    """Make every answer stored under one of the tags unusable.

    Inside a transaction it happens at once and again at the commit: until then others
    still read the old rows, and store answers made of them under the new version.
    """
    keys = [_tag_key(name) for name in names]

    def renew() -> None:
        cache = _cache()
        if cache is not None:
            cache.set_many({key: secrets.token_hex(8) for key in keys}, _TAG_TTL_SECONDS)

    renew()
    if connections[using].in_atomic_block:
        transaction.on_commit(renew, using=using, robust=True)


def _tag_key(name: str) -> str:
    return f"django_obc_ai:tag:{digest('tag', name)}"
