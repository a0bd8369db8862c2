"""Events of jobs, which are answered in the background."""

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
