"""The exact response cache on a Django cache alias.

An entry's name is a keyed hash of everything that shapes an answer (`cache_key`), and it serves
as long as its tags have the versions that they had when its data were read (`tags`). Only
finished, unblocked answers are stored, and a person's own for that person alone. A cache that
fails is a miss, logged; it never fails a call.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeAlias
from uuid import UUID

from django.core.cache import BaseCache

from django_obc_ai.conf import get_settings
from django_obc_ai.gateway.cache_key import digest, entry_of, prompt_hash_of
from django_obc_ai.gateway.cache_lane import cache_of, lane_to
from django_obc_ai.logs import events
from django_obc_ai.types import CallInfo, GenerationRequest, ProviderResponse
from django_obc_ai.types.settings import CacheSettings

__all__ = [
    "Found",
    "Stored",
    "configured_cache",
    "digest",
    "entry_of",
    "forget",
    "get",
    "is_shareable",
    "is_used",
    "key_of",
    "put",
    "texts_of",
]

#: What an entry begins with. Another one is of another release: a miss.
_FORM = 1
_REFRESH_SECONDS = 60
NameOf: TypeAlias = Callable[[], UUID]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found(ProviderResponse):
    """A stored answer; what was counted for it is not kept.

    Attributes:
        cost_usd: What it cost when it was paid for.
        prompt_hash: Of the prompt that it was made for, which was the same.
        entry: Its name.
        is_stale: Whether its time to live is over, and it should be made anew meanwhile.
    """

    cost_usd: Decimal
    prompt_hash: str
    entry: UUID
    is_stale: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What became of an answer that was to be stored.

    Attributes:
        entry: The entry that may hold it, even if the cache failed; None if none does.
        stored_bytes: What the text takes there; 0 if it was not stored.
        prompt_hash: Of its prompt; "" if it was not needed.
    """

    entry: UUID | None = None
    stored_bytes: int = 0
    prompt_hash: str = ""


_NOTHING_STORED = Stored()


def configured_cache() -> BaseCache | None:
    """Return the Django cache that holds answers, or None if there shall be none.

    Raises:
        ConfigurationError: ``CACHES`` has no such entry that works.
    """
    alias = get_settings().cache.alias
    return None if alias is None else cache_of(alias)


def is_shareable(info: CallInfo) -> bool:
    """Return whether a call may take another one's answer, and leave its own.

    A personal answer whose person is not known is nobody's: all that are anonymous would share
    it. It is neither looked up nor stored, nor waited for.
    """
    return info.use_cache and not (info.varies_by_user and info.user_id is None)


def is_used(info: CallInfo) -> bool:
    """Return whether the cache is looked into for a call, and may store its answer."""
    return is_shareable(info) and get_settings().cache.alias is not None


def _ttl_of(info: CallInfo, parsed: CacheSettings) -> int:
    if info.cache_ttl_seconds is not None:
        return info.cache_ttl_seconds
    return parsed.ttl_seconds.get(info.content_type, 0)


def key_of(entry: UUID) -> str:
    """Return the key of an entry in the Django cache."""
    return f"django_obc_ai:answer:{entry.hex}"


def get(request: GenerationRequest, info: CallInfo, name_of: NameOf | None = None) -> Found | None:
    """Return the stored answer to a request, in one round trip; None if there is none to serve.

    Args:
        request: What is asked.
        info: Who calls.
        name_of: Returns the request's `entry_of`, if somebody has it already.

    Raises:
        ConfigurationError: ``CACHES`` has no such entry that works.
    """
    parsed = get_settings().cache
    if parsed.alias is None or not is_shareable(info):
        return None
    lane = lane_to(parsed.alias)
    try:
        name = name_of() if name_of else entry_of(request, info)
        held = lane.get(key_of(name))
        if type(held) is not tuple or held[0] != _FORM:
            return None
        _, text, model, cost, prompt_hash, tags, ttl, at = held
        if tags != _sorted_tags(info):
            return None
        # Another caller may have stored it for longer than this one accepts.
        late = time.time() - at - min(ttl, _ttl_of(info, parsed) or ttl)
        if late > parsed.stale_seconds:
            return None
        return Found(
            text=_unpacked(text),
            model=model,
            cost_usd=Decimal(cost),
            prompt_hash=prompt_hash,
            entry=name,
            is_stale=late > 0,
        )
    except Exception as error:  # noqa: BLE001 - any client library: the cache is a convenience
        events.CACHE_READ_FAILED.log(error=error)
        return None


def put(
    request: GenerationRequest,
    info: CallInfo,
    response: ProviderResponse,
    *,
    cost_usd: Decimal,
    name_of: NameOf | None = None,
) -> Stored | None:
    """Store a finished answer and what it cost; store no other, nor one that is too large.

    Args:
        request: What was asked.
        info: Who calls.
        response: The answer.
        cost_usd: In US dollars.
        name_of: See get().

    Returns:
        None if the call does not use the cache.
    """
    parsed = get_settings().cache
    if parsed.alias is None or not is_shareable(info):
        return None
    ttl = _ttl_of(info, parsed)
    if not ttl or response.finish_reason != "stop":
        return _NOTHING_STORED
    text, size = _packed(response.text, parsed)
    if size > parsed.max_bytes:
        events.CACHE_TOO_LARGE.log(bytes=size)
        return _NOTHING_STORED
    # Plain values, which every cache's serialiser reads fast.
    model, cost, made_of = response.model, str(cost_usd), prompt_hash_of(request)
    entry = (_FORM, text, model, cost, made_of, _sorted_tags(info), ttl, time.time())
    name: UUID | None = None
    try:  # whatever fails: the answer is paid for and must be delivered
        lane = lane_to(parsed.alias)
        name = name_of() if name_of else entry_of(request, info)
        lane.set(key_of(name), entry, ttl + parsed.stale_seconds)
    except Exception as error:  # noqa: BLE001 - see get()
        events.CACHE_WRITE_FAILED.log(error=error)
        size = 0
    return Stored(entry=name, stored_bytes=size, prompt_hash=made_of)


def claim_refresh(entry: UUID) -> bool:
    """Return whether to make an answer anew that is past its time: one call a minute, of all."""
    seconds = min(get_settings().cache.stale_seconds, _REFRESH_SECONDS)
    try:
        cache = configured_cache()
        return cache is not None and bool(cache.add(_mark_of(entry), 1, seconds))
    except Exception as error:  # noqa: BLE001 - see get()
        events.CACHE_READ_FAILED.log(error=error)
        return False


def end_refresh(entry: UUID, *, is_paid: bool) -> None:
    """Note that nothing could be stored: if that was paid for, it is not tried again meanwhile."""
    try:
        cache = configured_cache()
        if cache is not None and is_paid:
            cache.set(_mark_of(entry), 1, get_settings().cache.stale_seconds)
        elif cache is not None:
            cache.delete(_mark_of(entry))
    except Exception as error:  # noqa: BLE001 - see get()
        events.CACHE_WRITE_FAILED.log(error=error)


def _mark_of(entry: UUID) -> str:
    return f"django_obc_ai:refresh:{entry.hex}"


def _sorted_tags(info: CallInfo) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(info.cache_tags)) if info.cache_tags else ()


def _packed(text: str, parsed: CacheSettings) -> tuple[str | bytes, int]:
    """Return a text as it is stored, and its bytes; a long one compressed, if that helps."""
    content = text.encode(errors="surrogatepass")
    if len(content) > parsed.compress_over_bytes:
        packed = zlib.compress(content, 1)  # higher levels take long for little
        if len(packed) < len(content):
            return packed, len(packed)
    return text, len(content)


def _unpacked(text: str | bytes) -> str:
    if isinstance(text, str):
        return text
    return zlib.decompress(text).decode(errors="surrogatepass")


def texts_of(entries: Collection[UUID]) -> dict[UUID, str]:
    """Return the texts of those entries that are still there; it raises what the cache raises.

    An entry of another release comes with the text "".
    """
    cache = configured_cache()
    keys = {key_of(each): each for each in entries}
    found = {} if cache is None else cache.get_many(keys)
    return {keys[key]: _text_of(held) for key, held in found.items()}


def _text_of(held: Any) -> str:
    return _unpacked(held[1]) if type(held) is tuple and held[0] == _FORM else ""


def forget(entries: Collection[UUID]) -> None:
    """Delete entries. Unlike the rest it raises what the cache raises: they may be there still."""
    cache = configured_cache()
    if cache is not None and entries:
        cache.delete_many([key_of(each) for each in entries])
