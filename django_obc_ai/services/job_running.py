"""Workers: taking jobs one after another, and taking up what dead workers have left.

A task runner's ticket says only that there is work. Whoever gets one works for a while. A ticket
too many finds nothing, and one too few is made good by `recover_jobs`; see `_tickets`.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from functools import partial
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, InterfaceError
from django.utils import timezone

from django_obc_ai.backends.providers.deadlines import ending_within
from django_obc_ai.backends.task_runners import task_runners
from django_obc_ai.conf import get_settings
from django_obc_ai.exceptions import (
    BadResponseError,
    ConfigurationError,
    CostStoreError,
    JobDeadlineError,
    ObcAIError,
    ProviderPausedError,
    RateLimitedError,
    RateLimitError,
    TaskRunnerError,
)
from django_obc_ai.gateway import keeper, ratelimit
from django_obc_ai.gateway.call import call
from django_obc_ai.gateway.foreign import is_interruption
from django_obc_ai.gateway.refusals import REFUSALS
from django_obc_ai.logs import events
from django_obc_ai.models import Job
from django_obc_ai.services import _job_json, _job_queue, _tickets
from django_obc_ai.services.results import result_of

#: Nothing was sent, and it is not the job's fault.
_NOT_ITS_FAULT = (RateLimitedError, ProviderPausedError, CostStoreError)
#: A worker that waits for a limit keeps others waiting; the job can do that by itself.
_PATIENCE_SECONDS = 1.0
#: Who says no does not always know until when, and somebody may lift it earlier.
_LEAST_SECONDS, _USUAL_SECONDS, _MOST_SECONDS = 0.1, 30.0, 600.0


def run_jobs(job_id: str = "", is_delayed: bool = False) -> int:
    """Answer jobs that are due, for as long as ``OBC_AI["JOBS"]["slice_seconds"]``.

    Args:
        job_id: Answer this one only: for somebody who waits in front of it, and not for what
            others have asked.
        is_delayed: Whether it is the ticket that was sent for later.

    Returns:
        How many this worker has answered, or had to put back.
    """
    if job_id:
        job = _job_queue.claim(UUID(job_id))
        if job is not None:
            _run(job)
        return int(job is not None)
    if not task_runners["default"].is_immediate:
        return _run_and_pass_on(is_delayed=is_delayed)
    return work(seconds=get_settings().jobs.slice_seconds)


def recover_jobs() -> None:
    """Take up what dead workers left, end what waited for too long, and delete what is old.

    The schedule runs it every half minute. It sends a ticket if jobs are due, should one have
    been lost.

    Raises:
        TaskRunnerError: The broker did not take the ticket.
    """
    tidy()
    if _job_queue.has_due():
        _tickets.send()


def tidy() -> None:
    """Do what `recover_jobs` does, and send nothing."""
    _job_queue.take_up()
    _job_queue.expire()
    _job_queue.purge()


def work(
    *,
    seconds: float | None = None,
    most: int | None = None,
    is_stopped: Callable[[], bool] = lambda: False,
    at_first: Callable[[], None] = lambda: None,
) -> int:
    """Answer one job after another, in the queue's order, until none is due.

    Args:
        seconds: Take none after so long.
        most: Take so many at most.
        is_stopped: Asked before each; True takes none any more.
        at_first: Called before the first is begun.

    Returns:
        How many were taken.
    """
    began, count = time.monotonic(), 0
    while (most is None or count < most) and not is_stopped():
        if seconds is not None and count and time.monotonic() - began >= seconds:
            break
        job = _job_queue.claim()
        if job is None:
            if _job_queue.take_up():  # of a worker that died, perhaps a moment ago
                continue
            break
        if not count:
            at_first()
        count += 1
        try:
            _run(job)
        except Exception as error:
            if isinstance(error, (DatabaseError, InterfaceError)) or is_interruption(error):
                raise
            # Such as a job of another release. One that cannot be run keeps nobody waiting.
            events.JOBS_RUN_FAILED.log(job_id=job.pk, error_type=type(error).__name__)
    return count


def _run_and_pass_on(*, is_delayed: bool) -> int:
    """Work for a slice, and let the broker know of what is left, or will be."""
    _tickets.take(is_delayed=is_delayed)
    count = work(seconds=get_settings().jobs.slice_seconds, at_first=_pass_on_due)
    due_at = _job_queue.next_due_at()
    if due_at is not None:
        send_ticket(due_at)
    return count


def _pass_on_due() -> None:
    """Send one more ticket if there is more to do, so that idle workers come, one by one."""
    if _job_queue.has_due():
        send_ticket(timezone.now())


def send_ticket(due_at: datetime.datetime, job_id: str = "") -> None:
    """Tell the task runner that jobs wait; what it does not take is made good by the schedule."""
    try:
        if due_at <= timezone.now():
            _tickets.send(job_id)
        else:
            _tickets.send_later(due_at)
    except TaskRunnerError as error:
        events.JOBS_NO_TICKET.log(error=error)


def _run(job: Job) -> None:
    """Make the call of a job that this worker has taken."""
    key = ("job", job.owner)
    keeper.keep(key, partial(_job_queue.renew, job), get_settings().jobs.lease_seconds / 3)
    try:
        with _job_json.as_asked(job):
            _ask(job)
    except BaseException:
        # Whatever it is, the worker is alive: nobody need wait for its lease to end.
        _job_queue.give_up(job)
        raise
    finally:
        keeper.drop(key)


def _ask(job: Job) -> None:
    left = None
    if job.deadline_at is not None:
        left = (job.deadline_at - timezone.now()).total_seconds()
        if left <= 0:
            error = JobDeadlineError()
            _job_queue.finish(job, None, category=error.code, message=str(error))
            return
    request, info = _job_json.read_call(job)
    with ending_within(left), ratelimit.waiting_at_most(_PATIENCE_SECONDS):
        outcome = call(request, info)
    failure = outcome.error
    if failure is not None and _is_put_back(job, failure, is_sent=outcome.attempts > 0):
        return
    result = result_of(outcome, request, info)
    category, message = result.error or "", result.error_message
    try:
        _job_queue.finish(job, _job_json.write_result(result), category=category, message=message)
    except REFUSALS as error:  # for good, and it shall not be paid for again
        message = f"The database refused the answer ({type(error).__name__})."
        _job_queue.finish(job, None, category=BadResponseError.code, message=message)


def _is_put_back(job: Job, error: ObcAIError | ConfigurationError, *, is_sent: bool) -> bool:
    """Let a job wait that was refused for now; return whether it was."""
    if not isinstance(error, (*_NOT_ITS_FAULT, RateLimitError)):
        return False
    if isinstance(error, RateLimitedError) and error.is_final:
        return False
    # A provider was asked, in the end or before, which costs; and it may go on so for ever.
    is_counted = is_sent or isinstance(error, RateLimitError)
    if is_counted and job.attempts >= get_settings().jobs.attempts:
        return False
    # Another of its providers may be free again before the one that was asked last.
    may_be_earlier = bool(get_settings().fallbacks.get(job.provider))
    due_at = due_after(error, most_seconds=_USUAL_SECONDS if may_be_earlier else _MOST_SECONDS)
    if not _job_queue.put_back(job, due_at, is_counted=is_counted):
        events.JOBS_ANSWER_REFUSED.log(job_id=job.pk)
        return True
    _job_queue.hold_others(job.provider, due_at)
    events.JOBS_PUT_BACK.log(
        about=job.provider, job_id=job.pk, alias=job.provider, reason=error.code, until=due_at
    )
    return True


def due_after(error: ObcAIError, *, most_seconds: float = _MOST_SECONDS) -> datetime.datetime:
    """Return when who refused may be asked again, as far as that is known, and soon enough."""
    if isinstance(error, ProviderPausedError):  # until somebody resumes it, whatever was planned
        most_seconds = _USUAL_SECONDS
    now = timezone.now()
    until: datetime.datetime | None = getattr(error, "until", None)
    if until is not None and not settings.USE_TZ:
        until = timezone.make_naive(until)
    if until is not None:
        wait = (until - now).total_seconds()
    else:
        wait = error.retry_after_seconds or _USUAL_SECONDS
    wait = min(max(wait, _LEAST_SECONDS), most_seconds)
    return now + datetime.timedelta(seconds=wait)
