"""How far a job is, for whoever asks: `JobHandle`."""

from __future__ import annotations

import asyncio
import datetime
import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID

from asgiref.sync import sync_to_async
from django.utils import timezone

from django_obc_ai.conf import get_settings
from django_obc_ai.exceptions import UnknownJobError
from django_obc_ai.models import Job, JobHold
from django_obc_ai.models.connections import persist
from django_obc_ai.models.writer import is_in_transaction
from django_obc_ai.services import _job_json, _job_queue
from django_obc_ai.types import GenerationResult
from django_obc_ai.types.jobs import FINAL_STATUSES, JobProgress, JobStatus

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.05, 1.0
_sleep = time.sleep


class JobHandle:
    """A job as it stood when it was last looked at: by `refresh`, `wait` or whoever made this.

    Its properties read nothing, so they may be used anywhere, and belong to one moment. Any
    process can have a handle, by the ``id``; check ``user_id`` before you show somebody a job
    whose id came from outside.
    """

    def __init__(self, job: Job, *, ahead: int = 0) -> None:
        """Wrap a row."""
        self._job = job
        self._ahead = ahead
        self._due_at = job.due_at

    def __repr__(self) -> str:
        """Return id and status."""
        return f"<JobHandle {self.id} {self.status}>"

    @property
    def id(self) -> UUID:
        """Return the key by which `TextService.job` finds it."""
        key: UUID = self._job.pk
        return key

    @property
    def status(self) -> JobStatus:
        """Return "queued", "running", "succeeded", "failed" or "cancelled"."""
        status: JobStatus = self._job.status  # type: ignore[assignment]  # one of the five
        return status

    @property
    def is_ended(self) -> bool:
        """Return whether the status changes no more, unless an operator has it tried again."""
        return self.status in FINAL_STATUSES

    @property
    def user_id(self) -> Any:
        """Return the primary key of the user whose job it is, or None."""
        return self._job.user_id

    @property
    def result(self) -> GenerationResult | None:
        """Return the answer, or why there is none; None until the job has ended.

        Of a job that failed or was cancelled, ``success`` is False, and ``raise_for_error()``
        raises the typed error: of the call, or `JobDeadlineError`, `JobCancelledError` or
        `AbandonedCallError`.
        """
        return _job_json.read_result(self._job) if self.is_ended else None

    @property
    def progress(self) -> JobProgress:
        """Return how far it is."""
        is_queued = self.status == "queued"
        return JobProgress(
            ahead=self._ahead,
            attempts=self._job.attempts,
            due_at=_aware(self._due_at) if is_queued else None,
            started_at=_aware(self._job.started_at),
        )

    def refresh(self) -> None:
        """Look at it again; three queries at most.

        Raises:
            UnknownJobError: It has been deleted, by age or with its user.
        """
        self._look()
        is_queued = self.status == "queued"
        self._ahead = _job_queue.count_before(self._job) if is_queued else 0
        self._due_at = _may_begin_at(self._job) if is_queued else self._job.due_at

    def wait(self, timeout_seconds: float | None = None) -> bool:
        """Return once it has ended; False if it has not within so many seconds.

        It looks at the job about once a second, and answers nothing by itself: without a task
        runner somebody must run ``manage.py run_jobs``.

        Raises:
            UnknownJobError: It has been deleted.
            RuntimeError: It waits, the caller has a transaction open, and there is no timeout:
                nobody would begin it before the commit.
        """
        for pause in pauses(timeout_seconds):
            self._look_waiting(timeout_seconds)
            if self.is_ended:
                break
            _sleep(pause)
        self.refresh()
        return self.is_ended

    def cancel(self) -> bool:
        """Cancel it, and look at it again; False if it had ended.

        The call of a running job goes on to its end and costs what it costs; its answer is kept
        nowhere but in the response cache.

        Raises:
            UnknownJobError: It has been deleted.
        """
        is_done = _job_queue.cancel(self.id)
        self.refresh()
        return is_done

    async def arefresh(self) -> None:
        """See refresh()."""
        await sync_to_async(self.refresh)()

    async def await_(self, timeout_seconds: float | None = None) -> bool:
        """See wait(); ``await`` itself is a word of the language."""
        for pause in pauses(timeout_seconds):
            await sync_to_async(self._look_waiting)(timeout_seconds)
            if self.is_ended:
                break
            await asyncio.sleep(pause)
        await self.arefresh()
        return self.is_ended

    async def acancel(self) -> bool:
        """See cancel()."""
        return await sync_to_async(self.cancel)()

    def _look(self) -> None:
        self._job = find(self.id)

    def _look_waiting(self, timeout_seconds: float | None) -> None:
        self._look()
        is_for_ever = timeout_seconds is None and self.status == "queued"
        if is_for_ever and is_in_transaction(get_settings().database):
            raise RuntimeError(
                f"The job {self.id} may be part of the transaction that is open, and nobody begins"
                " it before the commit. Wait after the atomic block, or with timeout_seconds."
            )


def find(job_id: UUID | str) -> Job:
    """Return the row of a job, after ending it if its deadline has passed while it waited."""
    try:
        key = job_id if isinstance(job_id, UUID) else UUID(job_id)
    except (ValueError, AttributeError, TypeError):
        raise UnknownJobError("That is no id of a job.") from None
    rows = Job.objects.filter(pk=key)
    alias = get_settings().database
    job = persist(alias, rows.first)
    if job is not None and _is_overdue(job) and _job_queue.expire(key):
        job = persist(alias, rows.first)
    if job is None:
        raise unknown_job(key)
    return job


def unknown_job(key: UUID) -> UnknownJobError:
    """Return the error that says nothing of whether somebody else has such a job."""
    return UnknownJobError(f"There is no job {key}; it may have been deleted since it ended.")


def _is_overdue(job: Job) -> bool:
    is_queued = job.status == Job.Status.QUEUED
    return is_queued and job.deadline_at is not None and job.deadline_at <= timezone.now()


def _may_begin_at(job: Job) -> datetime.datetime:
    """Return when a job that is queued may be taken, as far as that is known."""
    hold = persist(get_settings().database, JobHold.objects.filter(provider=job.provider).first)
    return job.due_at if hold is None else max(job.due_at, hold.until)


def _aware(at: datetime.datetime | None) -> datetime.datetime | None:
    if at is None:
        return None
    return (timezone.make_aware(at) if timezone.is_naive(at) else at).astimezone(datetime.UTC)


def pauses(timeout_seconds: float | None) -> Iterator[float]:
    """Yield how long to sleep before each further look, until the time is over."""
    ends_at = None if timeout_seconds is None else time.monotonic() + timeout_seconds
    pause = _FIRST_PAUSE_SECONDS
    while True:
        left = _LONGEST_PAUSE_SECONDS if ends_at is None else ends_at - time.monotonic()
        if left <= 0:
            return
        yield min(pause, left)
        pause = min(pause * 1.5, _LONGEST_PAUSE_SECONDS)
