"""The one task that Django's workers know of us: they find it by its path in this module.

Django makes tasks for a backend and a queue, so importing this reads settings. Only what is told
to use Django's tasks imports it, and each use names backend and queue again.
"""

from __future__ import annotations

import importlib
from typing import Any

from django.tasks import task, task_backends
from django.tasks.backends.immediate import ImmediateBackend

from django_obc_ai.backends.task_runners.base import run_here

_ALIAS = next(iter(task_backends))


def queue_of(alias: str) -> str:
    """Return the queue that a backend has in any case."""
    queues = task_backends[alias].queues
    return "default" if not queues or "default" in queues else min(queues)


@task(backend=_ALIAS, queue_name=queue_of(_ALIAS), takes_context=True)
def run_task(context: Any, name: str, arguments: dict[str, Any]) -> None:
    """Run a task of ours, in a worker of Django's. Any: TaskContext, whose types vary."""
    if not isinstance(context.task_result.task.get_backend(), ImmediateBackend):
        importlib.import_module("django_obc_ai.services.workers").note_worker()
    run_here(name, arguments)
