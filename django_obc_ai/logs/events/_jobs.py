"""Events of work in the background."""

from __future__ import annotations

from logging import ERROR, INFO, WARNING

from django_obc_ai.logs.event import OFTEN, Event

JOBS_ENDED = Event(
    name="jobs.ended",
    level=INFO,
    message="The job %(job_id)s has ended: %(outcome)s.",
    fields=("job_id", "outcome", "attempts"),
)
JOBS_PUT_BACK = Event(
    name="jobs.put_back",
    level=INFO,
    message="The job %(job_id)s and others of the provider %(alias)r wait until %(until)s:"
    " %(reason)s.",
    fields=("job_id", "alias", "reason", "until"),
    every_seconds=OFTEN,
)
JOBS_TAKEN_UP = Event(
    name="jobs.taken_up",
    level=WARNING,
    message="The worker of the job %(job_id)s has died or failed; another one is given it.",
    fields=("job_id", "attempts"),
)
JOBS_ABANDONED = Event(
    name="jobs.abandoned",
    level=ERROR,
    message="The job %(job_id)s counts as failed: %(attempts)d workers died or failed.",
    fields=("job_id", "attempts"),
)
JOBS_ANSWER_REFUSED = Event(
    name="jobs.answer_refused",
    level=WARNING,
    message="An answer of the job %(job_id)s is not kept: it was cancelled, or given to another"
    " worker meanwhile.",
    fields=("job_id",),
)
JOBS_NO_TICKET = Event(
    name="jobs.no_ticket",
    level=ERROR,
    message="The task runner was not told that jobs wait; recover_jobs tells it.",
    every_seconds=OFTEN,
)
JOBS_LINE_UNREAD = Event(
    name="jobs.line_unread",
    level=WARNING,
    message="Whether jobs wait before a call could not be read, so it does not wait for them.",
    every_seconds=OFTEN,
)
JOBS_NOT_QUEUED = Event(
    name="jobs.not_queued",
    level=WARNING,
    message="A question that the limits refuse could not be made a job, so it is refused.",
    every_seconds=OFTEN,
)
JOBS_RUN_FAILED = Event(
    name="jobs.run_failed",
    level=ERROR,
    message="The job %(job_id)s could not be run: %(error_type)s. It is tried again, or given up.",
    fields=("job_id", "error_type"),
)
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
TASKS_WORKER_NOT_NOTED = Event(
    name="tasks.worker_not_noted",
    level=WARNING,
    message="The worker %(worker)r could not write down that it is there; it works all the same.",
    fields=("worker",),
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
