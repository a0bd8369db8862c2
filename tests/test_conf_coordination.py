"""Which coordinator a project has that names none."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import override_settings

from django_obc_ai.backends.coordinators import BaseCoordinator, coordinators
from django_obc_ai.backends.cost_stores import cost_stores
from django_obc_ai.conf import find_errors, get_settings
from tests.extras import requires

STORES = "django_obc_ai.backends.cost_stores"
URL = "redis://:secret@cache:6379/3"
REDIS = {
    "BACKEND": f"{STORES}.redis.RedisCostStore",
    "OPTIONS": {"url": URL, "prefix": "mine", "timeout_seconds": 1.5},
}


def default(**stores: Any) -> BaseCoordinator:
    with override_settings(OBC_AI={"COST_STORES": stores} if stores else {}):
        return coordinators["default"]


@pytest.mark.parametrize(
    ("store", "expected"),
    [
        ("database.DatabaseCostStore", "DatabaseCoordinator"),
        ("memory.MemoryCostStore", "MemoryCoordinator"),
        pytest.param("redis.RedisCostStore", "RedisCoordinator", marks=requires("redis")),
    ],
)
def test_it_is_kept_where_the_budgets_are(store: str, expected: str) -> None:
    found = default(default={"BACKEND": f"{STORES}.{store}"})
    assert type(found).__name__ == expected
    assert found.is_shared == (expected != "MemoryCoordinator")


@pytest.mark.parametrize("path", ["project.OwnStore", "project.redis.RedisCostStore"])
def test_beside_any_other_cost_store_it_is_in_the_database(path: str) -> None:
    assert type(default(default={"BACKEND": path})).__name__ == "DatabaseCoordinator"
    assert type(default()).__name__ == "DatabaseCoordinator"


@requires("redis")
def test_it_asks_the_server_of_the_cost_store_as_patiently_and_under_names_of_its_own() -> None:
    with override_settings(OBC_AI={"COST_STORES": {"default": REDIS}}):
        spec = get_settings().coordinators["default"]
        assert spec.options == {"url": URL, "timeout_seconds": 1.5}
        assert coordinators["default"].server == cost_stores["default"].server == URL


def test_only_the_default_cost_store_counts() -> None:
    other = {"BACKEND": f"{STORES}.database.DatabaseCostStore"}
    assert type(default(default=other, spare=REDIS)).__name__ == "DatabaseCoordinator"


def test_backends_without_a_server_name_none() -> None:
    with override_settings(OBC_AI={}):
        assert coordinators["default"].server == cost_stores["default"].server == ""


def test_wrong_cost_stores_are_one_error() -> None:
    with override_settings(OBC_AI={"COST_STORES": {"default": {}}}):
        (error,) = find_errors()
        assert "COST_STORES" in str(error)


def test_what_the_key_names_is_taken() -> None:
    named = {"default": {"BACKEND": "django_obc_ai.backends.coordinators.memory.MemoryCoordinator"}}
    with override_settings(OBC_AI={"COST_STORES": {"default": REDIS}, "COORDINATORS": named}):
        assert type(coordinators["default"]).__name__ == "MemoryCoordinator"
