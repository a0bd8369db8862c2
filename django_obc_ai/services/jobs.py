"""Answers in the background: handing a question over, and asking how far it is."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar
from uuid import UUID

from asgiref.sync import sync_to_async
from django.db import (
    DatabaseError,
    InterfaceError,
    OperationalError,
    connections,
    transaction,
)
from django.utils import timezone

from django_obc_ai.backends.task_runners import task_runners
from django_obc_ai.conf import get_settings
from django_obc_ai.exceptions import (
    ConfigurationError,
    JobQueuedError,
    JobsFullError,
    ObcAIError,
    RateLimitedError,
    TaskRunnerError,
)
from django_obc_ai.logs import events
from django_obc_ai.models import Job
from django_obc_ai.models.connections import persist
from django_obc_ai.models.writer import is_in_transaction
from django_obc_ai.services import _job_json, _job_line, _job_queue, _tickets, job_running
from django_obc_ai.services._job_handle import JobHandle, find
from django_obc_ai.services.results import Call
from django_obc_ai.types import CallInfo, GenerationRequest, GenerationResult

__all__ = ["JobHandle", "Submitting", "cancel", "retry"]

_PRIORITIES = range(-32_768, 32_768)
_MOST_SECONDS = 100 * 365 * 86_400.0
#: Why a question that the limits refused cannot wait as a job, besides what is told instead.
_NOT_QUEUED = (
    DatabaseError,
    InterfaceError,
    ConfigurationError,
    *(TypeError, ValueError, OverflowError),  # of a value that no row holds
)


def cancel(job_id: UUID | str) -> bool:
    """Cancel a job, whoever's it is; False if it has ended. See `JobHandle.cancel`.

    Raises:
        UnknownJobError: There is none.
    """
    return _job_queue.cancel(find(job_id).pk)


def retry(job_id: UUID | str) -> bool:
    """Queue a failed job again, for operators; without its deadline, and as if it were new.

    Returns:
        False if it has not failed, or its question is gone.

    Raises:
        UnknownJobError: There is none.
        TaskRunnerError: The broker cannot be reached; the job failed and stays so.
    """
    job = find(job_id)
    task_runners["default"].ping()
    if not _job_queue.retry(job.pk):
        return False
    _after_commit(lambda: job_running.send_ticket(timezone.now()))
    return True


class Submitting:
    """The part of `TextService` that hands questions over to the background."""

    provider: str
    #: Whether ``when_exceeded: "queue"`` makes jobs of its calls.
    _may_queue: ClassVar[bool] = True

    def submit(
        self,
        prompt: str,
        *,
        priority: int = 0,
        deadline_seconds: float | None = None,
        delay_seconds: float = 0,
        **arguments: Any,
    ) -> JobHandle:
        """Have a prompt answered in the background; the job is kept until it is.

        In a transaction of the caller's the job is part of it. Mistakes in the arguments raise
        at once, as those of `generate_text` do, and nothing is stored then.

        Args:
            prompt: The question or instruction.
            priority: Higher is answered earlier, -32768 to 32767; within one, the jobs of
                different users, or of different scopes, take turns.
            deadline_seconds: After so long it has failed, with `JobDeadlineError`; a call that is
                under way is cut short then, and may be billed nevertheless.
            delay_seconds: It is not begun earlier.
            **arguments: Of `generate_text`; options must be JSON values.

        Raises:
            TypeError: An option is unknown, or no JSON value.
            ValueError: An argument is out of its range.
            ConfigurationError: ``OBC_AI`` is broken.
            JobsFullError: As many jobs wait as ``OBC_AI["JOBS"]["most_waiting"]`` allows.
            TaskRunnerError: The broker cannot be reached, and there is no job.
        """
        if priority not in _PRIORITIES:
            raise ValueError(f"priority is {priority!r}; give a number from -32768 to 32767.")
        if deadline_seconds is not None and not 0 < deadline_seconds <= _MOST_SECONDS:
            raise ValueError("deadline_seconds is not above 0, or more than a hundred years.")
        if not 0 <= delay_seconds <= _MOST_SECONDS:
            raise ValueError("delay_seconds is negative, or more than a hundred years.")
        job = _made(*self._prepare(prompt, **arguments))
        job.priority = priority
        if delay_seconds:
            job.due_at = job.created_at + datetime.timedelta(seconds=delay_seconds)
            job.not_before = job.due_at
        if deadline_seconds is not None:
            job.deadline_at = job.created_at + datetime.timedelta(seconds=deadline_seconds)
        return _submit(job)

    async def asubmit(self, prompt: str, **arguments: Any) -> JobHandle:
        """See submit()."""
        return await sync_to_async(self.submit)(prompt, **arguments)

    def job(self, job_id: UUID | str) -> JobHandle:
        """Return the handle of a job, whichever process handed it over, to whatever provider.

        Raises:
            UnknownJobError: There is none; jobs are deleted ``OBC_AI["JOBS"]["keep_days"]``
                after they ended.
        """
        handle = JobHandle(find(job_id))
        handle.refresh()
        return handle

    async def ajob(self, job_id: UUID | str) -> JobHandle:
        """See job()."""
        return await sync_to_async(self.job)(job_id)

    def _prepare(self, prompt: str, **arguments: Any) -> Call:
        raise NotImplementedError  # it is TextService's

    def _in_line(self, call: Call) -> Call:
        """Return a call that lets jobs go first which wait for the same limits."""
        request, info = call
        if not (self._may_queue and _job_line.is_queueing(info.provider)):
            return call
        return request, replace(info, line=_job_line.line_of)

    def _queued(
        self, result: GenerationResult, request: GenerationRequest, info: CallInfo
    ) -> GenerationResult:
        """Return a result, or that the question waits where the limits refused it for now.

        Where it cannot be made a job, the refusal is all that there is.
        """
        refusal = result.exception
        if not isinstance(refusal, RateLimitedError) or refusal.is_final or info.line is None:
            return result
        if _job_line.is_away():
            return result
        error: ObcAIError
        try:
            job = _made(request, info)
            job.due_at = job_running.due_after(refusal)
            handle = _submit_apart(job)
        except (JobsFullError, TaskRunnerError) as failure:
            error = failure
        except _NOT_QUEUED as failure:
            if isinstance(failure, (OperationalError, InterfaceError)):
                _job_line.note_away()
            events.JOBS_NOT_QUEUED.log(error=failure)
            return result
        else:
            is_behind = refusal.reason == "queue"
            why = "Others wait for the provider" if is_behind else "Nothing more may be sent now to"
            error = JobQueuedError(
                f"{why} {info.provider!r}, so the question waits as the job {handle.id}."
            )
            error.job_id = handle.id
        return replace(result, error=error.code, error_message=str(error), exception=error)

    async def _aqueued(
        self, result: GenerationResult, request: GenerationRequest, info: CallInfo
    ) -> GenerationResult:
        if not isinstance(result.exception, RateLimitedError):
            return result
        return await sync_to_async(self._queued)(result, request, info)


def _made(request: GenerationRequest, info: CallInfo) -> Job:
    """Return the row of a new job, not saved yet."""
    now = timezone.now()
    return Job(
        user_id=info.user_id,
        scope=_fit(info.scope, 100),
        module=_fit(info.module, 50),
        operation_type=_fit(info.operation_type, 50),
        provider=_fit(info.provider, 50),
        request=_job_json.write_call(request, info),
        created_at=now,
        due_at=now,
    )


def _fit(text: str, length: int) -> str:
    """Return a text as a column holds it; the call's own is in the request."""
    return text.encode(errors="replace").decode().replace("\x00", "")[:length]


def _submit_apart(job: Job) -> JobHandle:
    """Submit in a savepoint where the caller has a transaction open, which no fault may break."""
    alias = get_settings().database
    if not (is_in_transaction(alias) and connections[alias].in_atomic_block):
        return _submit(job)
    with transaction.atomic(using=alias):
        return _submit(job)


def _submit(job: Job) -> JobHandle:
    """Store a job and send its ticket: both, or neither and an error."""
    alias = get_settings().database
    runner = task_runners["default"]  # first, since one that cannot be made leaves no job
    most = get_settings().jobs.most_waiting
    if most is not None and _job_queue.count_waiting() >= most:
        raise JobsFullError(
            f"{most} jobs wait, as many as OBC_AI['JOBS']['most_waiting'] allows. Try again later."
        )
    job.turn = _job_queue.turn_for(job)
    if is_in_transaction(alias):
        runner.ping()
        job.save(force_insert=True, using=alias)
        _after_commit(lambda: job_running.send_ticket(job.due_at, str(job.pk)))
    else:
        _insert(job, alias)
        try:
            _send_ticket(job)
        except (TaskRunnerError, ConfigurationError):
            if _job_queue.remove(job.pk):
                raise  # else a worker has begun it already, so there is a job
    handle = JobHandle(job)
    if runner.is_immediate:
        handle.refresh()
    return handle


def _send_ticket(job: Job) -> None:
    if job.due_at > job.created_at:
        _tickets.send_later(job.due_at, must_reach=True)
    else:
        _tickets.send(str(job.pk), must_reach=True)


def _insert(job: Job, alias: str) -> None:
    """Insert a row, again if the connection broke: it may be there then, or not."""

    def insert() -> None:
        if not job._state.adding or not Job.objects.filter(pk=job.pk).exists():
            job.save(using=alias)

    persist(alias, insert)


def _after_commit(work: Callable[[], None]) -> None:
    """Do something once the caller's transaction is committed, or now if there is none."""
    alias = get_settings().database
    if not is_in_transaction(alias):
        work()
    elif connections[alias].in_atomic_block:
        transaction.on_commit(work, using=alias)
    # Without autocommit nobody says when it is committed: recover_jobs sends the ticket.
