"""The shorter way to Django's own cache backends for Redis and for memory."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from django.core.cache import BaseCache, caches
from django.core.cache.backends.locmem import LocMemCache
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
    lane = lane_to("default")
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
    assert lane_to("default") is cache


def test_a_cache_in_memory_is_shared_with_every_thread_and_with_the_project() -> None:
    memory = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "shared"}
    with override_settings(CACHES={"default": {**memory, "KEY_PREFIX": "mine", "VERSION": 7}}):
        lane, cache = lane_to("default"), caches["default"]
        assert lane is lane_to("default") is not cache
        lane.set("a", VALUE, 60)
        assert cache.get("a") == VALUE
        with ThreadPoolExecutor(1) as pool:
            pool.submit(lambda: caches["default"].set("b", VALUE, 60)).result()
            assert pool.submit(lambda: lane_to("default").get("b")).result() == VALUE
        cache.clear()
        assert lane.get("a") is None


def test_a_projects_own_cache_in_memory_is_asked_in_its_own_way() -> None:
    with override_settings(CACHES={"default": {"BACKEND": f"{__name__}.OtherMemory"}}):
        assert lane_to("default") is caches["default"]


def test_settings_that_change_lead_to_another_cache() -> None:
    memory = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "one"}
    with override_settings(CACHES={"default": memory}):
        lane_to("default").set("a", VALUE, 60)
        with override_settings(CACHES={"default": {**memory, "LOCATION": "two"}}):
            assert lane_to("default").get("a") is None
        assert lane_to("default").get("a") == VALUE
        caches["default"].clear()


def test_a_redis_that_is_away_is_an_error_of_ours_without_its_address(redis_cache: Any) -> None:
    redis_cache(LOCATION="redis://:secret@127.0.0.1:1/0")
    with pytest.raises(ObcAIError) as caught:
        lane_to("default").get("a")
    assert "secret" not in str(caught.value)


class Reversed:
    """A serialiser of a project's own."""

    def dumps(self, value: Any) -> bytes:
        return repr(value).encode()[::-1]

    def loads(self, data: bytes) -> Any:
        return data[::-1].decode()


class Other(RedisCache):
    """A project's own subclass, which may keep its entries elsewhere."""


class OtherMemory(LocMemCache):
    """Likewise."""
