"""W017, and what the other checks find in COORDINATORS."""

from __future__ import annotations

import pytest
from django.test import override_settings

from django_obc_ai.backends.coordinators.memory import MemoryCoordinator
from django_obc_ai.backends.cost_stores.memory import MemoryCostStore
from tests.checks.test_checks import SHARED, assert_only, found
from tests.extras import requires
from tests.fakes import entry

pytestmark = pytest.mark.django_db(transaction=True)


def test_W017_coordinator_not_shared() -> None:  # noqa: N802
    private = entry(MemoryCoordinator)
    with override_settings(CACHES=SHARED):
        messages = found(deploy=True, COORDINATORS=private)
        assert_only("W017", messages, "OBC_AI['COORDINATORS']['default'] is not shared between")
        assert found(deploy=False, COORDINATORS=private) == []
        assert found(deploy=True) == []


def test_a_coordinator_that_follows_a_private_cost_store_is_not_warned_of_again() -> None:
    with override_settings(CACHES=SHARED):
        assert_only("W005", found(deploy=True, COST_STORES=entry(MemoryCostStore)))


def test_a_broken_coordinator_is_reported_once() -> None:
    with override_settings(CACHES=SHARED):
        assert_only("E003", found(deploy=True, COORDINATORS=entry("no.such.Coordinator")))


@requires("redis")
def test_the_prefix_of_a_coordinator_holds_no_brace() -> None:
    redis = "django_obc_ai.backends.coordinators.redis.RedisCoordinator"
    messages = found(COORDINATORS=entry(redis, prefix="{mine}"))
    assert_only("E004", messages, "OBC_AI['COORDINATORS']['default']['OPTIONS'] is refused")
