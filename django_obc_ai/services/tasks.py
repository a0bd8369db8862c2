"""The tasks that run in the background, by name, and how they are started.

Each may run twice, at once, and at any time: what is to be done is in the database. Each is a
management command as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.utils.module_loading import import_string

from django_obc_ai.backends.task_runners import task_runners

_SERVICES = "django_obc_ai.services"
#: Where the function of each task is: imported at first use. It takes the task's arguments by name.
TASKS: dict[str, str] = {
    "generate_text": f"{_SERVICES}.job_running.run_jobs",
    "recover_jobs": f"{_SERVICES}.job_running.recover_jobs",
}


def send(name: str, *, delay_seconds: float = 0.0, priority: int = 0, **arguments: Any) -> None:
    """Have the default runner run a task.

    Raises:
        TaskRunnerError: Its broker did not take it.
    """
    task_runners["default"].enqueue(name, arguments, delay_seconds=delay_seconds, priority=priority)


def run(name: str, arguments: Mapping[str, Any]) -> None:
    """Run a task in this process.

    Raises:
        LookupError: There is no such task.
        Exception: Whatever the task raises.
    """
    if name not in TASKS:
        raise LookupError(f"There is no task {name!r}; there are {', '.join(TASKS)}.")
    task: Callable[..., object] = import_string(TASKS[name])
    task(**arguments)
