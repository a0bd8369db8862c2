"""The part of the health check that looks at work in the background."""

from __future__ import annotations

from collections.abc import Callable

from django_obc_ai.backends.task_runners import task_runners
from django_obc_ai.exceptions import TaskRunnerError
from django_obc_ai.services import _provider_health as asking
from django_obc_ai.services._ages import age
from django_obc_ai.services._provider_health import HealthItem
from django_obc_ai.services.background import SEEN_SECONDS, Background, jobs

#: Reads the figures when the first part asks for them, and gives the others the same.
Look = Callable[[], Background]


def check_runner(alias: str) -> HealthItem:
    """Say whether a task runner's broker takes tasks.

    Raises:
        ConfigurationError: It cannot be built.
    """
    name, runner = f"task runner {alias}", task_runners[alias]
    item = asking.describe(name, runner, task_runners.where(alias))
    if item.status == "error":
        return item
    try:
        runner.ping()
    except TaskRunnerError as error:
        hint = "Until its broker answers, nothing can be submitted; what was submitted is kept."
        return HealthItem(name=name, status="unknown", message=str(error), hint=hint)
    return item


def check_jobs(look: Look) -> HealthItem:
    """Say how many jobs wait, and whether one could have been taken long ago.

    Raises:
        DatabaseError: The database does not answer.
    """
    found = look()
    told = f"{found.waiting:,} waiting, {found.running:,} running; {found.failed:,} failed within a"
    told += " day."
    if not found.is_late:
        return HealthItem(name="jobs", status="ok", message=told)
    message = f"{told} One has waited for a worker for {age(found.untaken_seconds)}."
    hint = "Run: manage.py run_jobs" if found.is_immediate else "Start more workers."
    return HealthItem(name="jobs", status="warning", message=message, hint=hint)


def check_workers(look: Look) -> HealthItem:
    """Say whether somebody works where something is to be done.

    Raises:
        DatabaseError: The database does not answer.
    """
    found = look()
    if found.is_immediate and not found.workers:
        message = "None is needed: tasks run in the process that asks for them."
        return HealthItem(name="workers", status="ok", message=message)
    message = f"{found.workers:,} seen within the last {age(SEEN_SECONDS)}."
    unseen = f"None was seen within the last {age(SEEN_SECONDS)}"
    hint = "Start a worker, or look at the log of those that run."
    if found.is_deserted:
        message = f"{unseen}, and {jobs(found.waiting, 'waits', 'wait')}."
        return HealthItem(name="workers", status="error", message=message, hint=hint)
    if found.is_unmanned and found.heard_at is not None:
        message = f"{unseen}; one was there {age(found.since(found.heard_at))} ago."
        message += " Nothing is indexed, and the schedule stands still."
        return HealthItem(name="workers", status="warning", message=message, hint=hint)
    return HealthItem(name="workers", status="ok", message=message)


def check_schedule(look: Look) -> HealthItem:
    """Say whether the schedule works, and what of it failed.

    Raises:
        DatabaseError: The database does not answer.
    """
    found = look()
    beat = found.beat_at
    told = "It never worked." if beat is None else f"It last worked {age(found.since(beat))} ago."
    if found.is_beat_late:
        hint = "Start a worker: it is workers that do what the scheduler sends."
        if found.workers:
            hint = "Start the scheduler, with the tasks of django_obc_ai in its schedule, or more"
            hint += " workers if the line at the broker is long."
        return HealthItem(name="schedule", status="warning", message=told, hint=hint)
    if failed := found.failed_tasks:
        names = ", ".join(f"{each.name} ({each.error_category})" for each in failed)
        hint = "The list of scheduled tasks in the admin says what went wrong."
        message = f"{told} Failed last time: {names}."
        return HealthItem(name="schedule", status="warning", message=message, hint=hint)
    if found.is_immediate and beat is None:
        told = "None is needed: nothing waits for a worker."
    return HealthItem(name="schedule", status="ok", message=told)
