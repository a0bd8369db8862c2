"""Which coordinator a project has that names none: one beside its cost store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_BACKENDS = "django_obc_ai.backends"
DATABASE_COORDINATOR = f"{_BACKENDS}.coordinators.database.DatabaseCoordinator"
#: By cost store: the coordinator that needs nothing else, and the options that both know.
_BESIDE: dict[str, tuple[str, tuple[str, ...]]] = {
    f"{_BACKENDS}.cost_stores.redis.RedisCostStore": (
        f"{_BACKENDS}.coordinators.redis.RedisCoordinator",
        ("url", "timeout_seconds"),
    ),
    f"{_BACKENDS}.cost_stores.memory.MemoryCostStore": (
        f"{_BACKENDS}.coordinators.memory.MemoryCoordinator",
        (),
    ),
}


def default_coordinator(parsed: Mapping[str, Any]) -> dict[str, Any]:
    """Return the value of ``COORDINATORS`` that follows from ``COST_STORES["default"]``.

    Args:
        parsed: Keys that were read before; without cost stores if those are wrong.
    """
    stores = parsed.get("cost_stores")
    store = stores["default"] if stores else None
    path, shared = _BESIDE.get(store.path if store else "", (DATABASE_COORDINATOR, ()))
    options = {name: store.options[name] for name in shared if store and name in store.options}
    return {"default": {"BACKEND": path, "OPTIONS": options}}
