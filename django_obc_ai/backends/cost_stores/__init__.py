"""Cost stores, which keep budgets under concurrency.

`cost_stores["default"]` is the configured backend; see `BackendHandler`.
"""

from __future__ import annotations

from django_obc_ai.backends.cost_stores.base import (
    BaseCostStore,
    BudgetsChangedError,
    owner_of_process,
)
from django_obc_ai.backends.handler import BackendHandler

cost_stores: BackendHandler[BaseCostStore] = BackendHandler(
    "COST_STORES", "django_obc_ai.backends.cost_stores.base.BaseCostStore"
)

__all__ = ["BaseCostStore", "BudgetsChangedError", "cost_stores", "owner_of_process"]
