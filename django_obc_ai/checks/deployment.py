"""W003, W005 and W017, under ``check --deploy``: what must be shared between processes."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage

from django_obc_ai.backends.coordinators import coordinators
from django_obc_ai.backends.cost_stores import cost_stores
from django_obc_ai.checks.messages import warning
from django_obc_ai.checks.web import PRIVATE_CACHES
from django_obc_ai.conf import find_errors, get_settings
from django_obc_ai.exceptions import ConfigurationError


def check_deployment(**_: Any) -> list[CheckMessage]:
    """Warn of caches and stores that each worker process would have to itself."""
    if find_errors():
        return []
    messages = []
    parsed = get_settings()
    alias = parsed.cache.alias
    backend = settings.CACHES.get(alias, {}).get("BACKEND", "") if alias else ""
    if backend.endswith(PRIVATE_CACHES):
        messages.append(
            warning(
                "W003",
                f"OBC_AI['CACHE'] uses {backend.rpartition('.')[2]}, which workers do not share:"
                " each pays for the same answer, and dropped tags live on in the others.",
                "Use Redis, Memcached or the database cache.",
            )
        )
    try:
        is_shared = cost_stores["default"].is_shared
        is_coordinated = coordinators["default"].is_shared
    except ConfigurationError:  # check_backends reports it
        return messages
    if not is_shared:
        messages.append(
            warning(
                "W005",
                "OBC_AI['COST_STORES']['default'] is not shared between processes: every worker"
                " may spend the whole budget.",
                "Use the database cost store.",
            )
        )
    elif not is_coordinated:  # the default coordinator follows the cost store, and so its warning
        messages.append(
            warning(
                "W017",
                "OBC_AI['COORDINATORS']['default'] is not shared between processes: every worker"
                " makes equal calls for itself and may use the provider's whole rate limit.",
                "Remove OBC_AI['COORDINATORS'], or use the database or the Redis coordinator.",
            )
        )
    return messages
