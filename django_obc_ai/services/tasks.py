"""The tasks that run in the background, by name, how they are started, and when.

Each may run twice, at once, and at any time: what is to be done is in the database. Each is a
management command as well. A project's Celery app imports this while settings are still being
read, so nothing here may need them before it is called.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import time
from typing import Any

from django.utils.module_loading import import_string

from django_obc_ai.backends.task_runners import task_runners

_SERVICES = "django_obc_ai.services"
#: Where the function of each task is: imported at first use. It takes the task's arguments by name.
TASKS: dict[str, str] = {
    "generate_text": f"{_SERVICES}.job_running.run_jobs",
    "recover_jobs": f"{_SERVICES}.job_running.recover_jobs",
}
#: When the schedule starts what: every so many seconds, or daily at a time of ``TIME_ZONE``. The
#: daily ones come one after another, at hours at which few people are about.
SCHEDULE: dict[str, float | time] = {
    "recover_jobs": 30,
    "expire_reservations": 60,
    "drain_spool": 60,
    "index_objects": 60,
    "check_budgets": 300,
    "roll_up": 900,
    "purge_operations": time(1, 30),
    "verify_index": time(2, 30),
    "warm_cache": time(5, 30),
    "send_cost_report": time(7, 0),
}


def send(name: str, *, delay_seconds: float = 0.0, priority: int = 0, **arguments: Any) -> None:
    """Have the default runner run a task.

    Raises:
        LookupError: There is no such task.
        TaskRunnerError: Its broker did not take it.
    """
    _path(name)
    task_runners["default"].enqueue(name, arguments, delay_seconds=delay_seconds, priority=priority)


def run(name: str, arguments: Mapping[str, Any]) -> None:
    """Run a task in this process.

    Raises:
        LookupError: There is no such task.
        Exception: Whatever the task raises.
    """
    task: Callable[..., object] = import_string(_path(name))
    task(**arguments)


def _path(name: str) -> str:
    if name not in TASKS:
        raise LookupError(f"There is no task {name!r}; there are {', '.join(TASKS)}.")
    return TASKS[name]
