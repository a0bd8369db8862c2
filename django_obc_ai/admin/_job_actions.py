"""What people may do with jobs in the admin, and what they are told of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from django_obc_ai.models import Job


@dataclass(frozen=True, slots=True, kw_only=True)
class JobAction:
    """One thing that is done with a job.

    Attributes:
        name: In addresses.
        label: On buttons.
        done: What was done, for messages and the history.
        question: Title of the page that asks whether it is meant.
        fact: What somebody should know before saying yes.
        refusal: Why it is not done with others.
        fits: Statuses of jobs that it is done with.
        run: Does it; returns whether it was done.
    """

    name: str
    label: str
    done: str
    question: str
    fact: str
    refusal: str
    fits: tuple[str, ...]
    run: Callable[[UUID], bool]


def _retry(key: UUID) -> bool:
    from django_obc_ai.services import jobs  # with it comes all that makes calls

    return bool(jobs.retry(key))


def _cancel(key: UUID) -> bool:
    from django_obc_ai.services import jobs

    return bool(jobs.cancel(key))


ACTIONS = {
    each.name: each
    for each in (
        JobAction(
            name="retry",
            label="Retry",
            done="Retried",
            question="Retry this job?",
            fact="It waits in the queue again, with all its attempts, and costs what a call costs.",
            refusal="Only failed jobs can be tried again.",
            fits=(Job.Status.FAILED,),
            run=_retry,
        ),
        JobAction(
            name="cancel",
            label="Cancel",
            done="Cancelled",
            question="Cancel this job?",
            fact="It is not answered. A call that is under way is paid for all the same.",
            refusal="Only jobs that have not ended can be cancelled.",
            fits=(Job.Status.QUEUED, Job.Status.RUNNING),
            run=_cancel,
        ),
    )
}
