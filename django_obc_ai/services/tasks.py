"""The tasks that run in the background, by name, and how they are started.

Each may run twice, at once, and at any time: what is to be done is in the database. Each is a
management command as well.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from typing import Any

from django.db import DatabaseError, InterfaceError, transaction
from django.db.models import F
from django.utils import timezone
from django.utils.module_loading import import_string

from django_obc_ai.backends.task_runners import task_runners
from django_obc_ai.conf import get_settings
from django_obc_ai.logs import events
from django_obc_ai.models import TaskState
from django_obc_ai.models.connections import persist
from django_obc_ai.models.fields import NAME_LENGTH
from django_obc_ai.services._claims import outcome_of
from django_obc_ai.services.task_table import TASKS

#: One for each job: what became of that, the job's own row tells.
_NOT_NOTED = frozenset({"generate_text"})


def send(name: str, *, delay_seconds: float = 0.0, priority: int = 0, **arguments: Any) -> None:
    """Have the default runner run a task.

    Raises:
        LookupError: There is no such task.
        TaskRunnerError: Its broker did not take it.
    """
    _path(name)
    task_runners["default"].enqueue(name, arguments, delay_seconds=delay_seconds, priority=priority)


def has_workers() -> bool:
    """Return whether the default runner hands tasks to other processes."""
    return not task_runners["default"].is_immediate


def run(name: str, arguments: Mapping[str, Any]) -> None:
    """Run a task in this process, and note in its `TaskState` how that went.

    Raises:
        LookupError: There is no such task.
        Exception: Whatever the task raises; it is logged as ``tasks.failed``.
    """
    task: Callable[..., object] = import_string(_path(name))
    _note(name, started_at=timezone.now(), runs=F("runs") + 1, worker=worker_name())
    try:
        task(**arguments)
    except Exception as error:
        events.TASKS_FAILED.log(about=name, error=error, task=name)
        _note(name, finished_at=timezone.now(), **outcome_of(error))
        raise
    _note(name, finished_at=timezone.now(), **outcome_of(None))


def _path(name: str) -> str:
    if name not in TASKS:
        raise LookupError(f"There is no task {name!r}; there are {', '.join(TASKS)}.")
    return TASKS[name]


def worker_name() -> str:
    """Return the name of this process among those that run tasks: host and process id."""
    return f"{socket.gethostname()}:{os.getpid()}"[-NAME_LENGTH:]


def _note(name: str, **values: Any) -> None:
    """Write down how a task goes; a task is not kept from its work by a note that fails.

    One statement, so that of several at once the last one stands, and every run is counted.
    """
    if name in _NOT_NOTED:
        return
    alias = get_settings().database
    rows = TaskState.objects.filter(name=name, key="")

    def write() -> None:
        with transaction.atomic(using=alias):  # a caller's own is not broken by it
            if not rows.update(**values):
                row = TaskState(name=name)
                TaskState.objects.bulk_create([row], ignore_conflicts=True)
                rows.update(**values)

    try:
        persist(alias, write)
    except (DatabaseError, InterfaceError) as error:
        events.TASKS_NOT_NOTED.log(about=name, error=error, task=name)
