"""Task runners, which carry work to the background by its name.

`task_runners["default"]` is the configured backend; see `BackendHandler`.
"""

from __future__ import annotations

from django_obc_ai.backends.handler import BackendHandler
from django_obc_ai.backends.task_runners.base import BaseTaskRunner

task_runners: BackendHandler[BaseTaskRunner] = BackendHandler(
    "TASK_RUNNERS", "django_obc_ai.backends.task_runners.base.BaseTaskRunner"
)

__all__ = ["BaseTaskRunner", "task_runners"]
