"""Coordinators, through which all workers share flights, rate limits and breakers.

`coordinators["default"]` is the configured backend; see `BackendHandler`.
"""

from __future__ import annotations

from django_obc_ai.backends.coordinators.base import BaseCoordinator
from django_obc_ai.backends.handler import BackendHandler

coordinators: BackendHandler[BaseCoordinator] = BackendHandler(
    "COORDINATORS", "django_obc_ai.backends.coordinators.base.BaseCoordinator"
)

__all__ = ["BaseCoordinator", "coordinators"]
