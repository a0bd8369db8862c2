"""Where Celery's ``autodiscover_tasks()`` finds the package's tasks, and `beat_schedule`.

Other task frameworks import each app's ``tasks``, too: without Celery there is nothing here for
them. It may be imported while Django's settings are still being read.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

__all__ = ["beat_schedule"]

if find_spec("celery") is not None:
    from django_obc_ai._celery import beat_schedule
else:

    def beat_schedule(**changes: Any) -> dict[str, dict[str, Any]]:
        """Raise the error that says how Celery is installed.

        Raises:
            MissingDependencyError: Always.
        """
        from django_obc_ai.backends.task_runners.celery import CeleryRunner

        raise CeleryRunner.missing_dependency()
