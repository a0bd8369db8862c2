"""Events of work in the background."""

from __future__ import annotations

from logging import ERROR, INFO, WARNING

from django_obc_ai.logs.event import OFTEN, Event

TASKS_FAILED = Event(
    name="tasks.failed",
    level=ERROR,
    message="The task %(task)s failed.",
    fields=("task",),
    every_seconds=OFTEN,
)
TASKS_NOT_NOTED = Event(
    name="tasks.not_noted",
    level=WARNING,
    message="How the task %(task)s went could not be noted.",
    fields=("task",),
    every_seconds=OFTEN,
)
TASKS_NOT_SENT = Event(
    name="tasks.not_sent",
    level=WARNING,
    message="The task %(task)s was not sent for the index %(index)r; what is to be done is in the"
    " database, and the next run of index_objects does it.",
    fields=("task", "index"),
    every_seconds=OFTEN,
)
INDEXES_DIFFER = Event(
    name="indexes.differ",
    level=ERROR,
    message="The index %(index)r is not equal to its rows: %(differ)d objects differ, and"
    " %(repaired)d were brought up to date.",
    fields=("index", "differ", "repaired"),
)
INDEXES_NOT_COMPARED = Event(
    name="indexes.not_compared",
    level=WARNING,
    message="The index %(index)r cannot be compared with its rows: %(reason)s.",
    fields=("index", "reason"),
)
CACHE_WARMED = Event(
    name="cache.warmed",
    level=INFO,
    message="%(answered)d prompts were answered ahead, %(cached)d had been before, %(failed)d"
    " failed, %(left)d are left. %(reason)s",
    fields=("answered", "cached", "failed", "left", "reason"),
)
