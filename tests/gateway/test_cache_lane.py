"""The shorter way to a Redis that Django's own cache backend uses."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from django.core.cache import BaseCache, caches
from django.core.cache.backends.redis import RedisCache
from django.test import override_settings

from django_obc_ai.exceptions import ObcAIError
from django_obc_ai.gateway.cache_lane import Lane, lane_to
from tests.servers.valkey import RedisServer

REDIS = "django.core.cache.backends.redis.RedisCache"
#: As an entry of the response cache is.
VALUE = (1, "Kumusta, Mindanao", "gemini", str(Decimal("0.1")), (("a", "1"),), 60, 1.5)


@pytest.fixture
def redis_cache(redis_server: RedisServer) -> Iterator[Any]:
    def make(**more: Any) -> BaseCache:
        entry = {"BACKEND": REDIS, "LOCATION": redis_server.url, **more}
        override = override_settings(CACHES={"default": entry})
        override.enable()
        overrides.append(override)
        return caches["default"]

    overrides: list[override_settings] = []
    yield make
    while overrides:
        overrides.pop().disable()


@pytest.mark.parametrize(
    "more", [{}, {"KEY_PREFIX": "mine", "VERSION": 7}, {"KEY_FUNCTION": f"{__name__}.key"}], ids=str
)
def test_both_ways_find_what_the_other_has_left(redis_cache: Any, more: dict[str, Any]) -> None:
    cache = redis_cache(**more)
    lane = lane_to(cache)
    assert isinstance(lane, Lane)
    lane.set("a", VALUE, 60)
    assert cache.get("a") == VALUE
    assert 0 < cache._cache.get_client("a").ttl(cache.make_key("a")) <= 60
    cache.set("b", VALUE, 60)
    assert lane.get("b") == VALUE
    cache.delete("a")
    assert lane.get("a") is None


def key(name: str, prefix: str, version: int) -> str:
    return f"{version}/{prefix}/{name}"


@pytest.mark.parametrize(
    "more",
    [
        {"OPTIONS": {"db": 3}},
        {"OPTIONS": {"serializer": "tests.gateway.test_cache_lane.Reversed"}},
        {"BACKEND": f"{__name__}.Other"},
    ],
    ids=str,
)
def test_a_cache_that_is_not_plain_is_asked_in_its_own_way(
    redis_cache: Any, more: dict[str, Any]
) -> None:
    cache = redis_cache(**more)
    assert lane_to(cache) is cache


def test_any_other_cache_is_asked_in_its_own_way() -> None:
    memory = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
    with override_settings(CACHES={"default": memory}):
        assert lane_to(caches["default"]) is caches["default"]


def test_a_redis_that_is_away_is_an_error_of_ours_without_its_address(redis_cache: Any) -> None:
    cache = redis_cache(LOCATION="redis://:secret@127.0.0.1:1/0")
    with pytest.raises(ObcAIError) as caught:
        lane_to(cache).get("a")
    assert "secret" not in str(caught.value)


class Reversed:
    """A serialiser of a project's own."""

    def dumps(self, value: Any) -> bytes:
        return repr(value).encode()[::-1]

    def loads(self, data: bytes) -> Any:
        return data[::-1].decode()


class Other(RedisCache):
    """A project's own subclass, which may keep its entries elsewhere."""
