"""Events of work in the background."""

from __future__ import annotations

from logging import ERROR, WARNING

from django_obc_ai.logs.event import OFTEN, Event

TASKS_FAILED = Event(
    name="tasks.failed",
    level=ERROR,
    message="The task %(task)r failed in the process that asked for it.",
    fields=("task",),
    every_seconds=OFTEN,
)
TASKS_WORKER_NOT_NOTED = Event(
    name="tasks.worker_not_noted",
    level=WARNING,
    message="The worker %(worker)r could not write down that it is there; it works all the same.",
    fields=("worker",),
    every_seconds=OFTEN,
)
