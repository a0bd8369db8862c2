"""The queue of jobs, which is their table: who is next, whose it is, and what becomes of it.

Every step is one UPDATE that says in its WHERE what it relies on, so that any number of workers
may take it at once, on any database: one of them changes the row. What a worker has taken bears
its token, and only who bears it may write.
"""

from __future__ import annotations

import datetime
import os
import socket
from typing import Any
from uuid import UUID

from django.db.models import BigIntegerField, Case, F, Max, Min, Q, When
from django.utils import timezone

from django_obc_ai.conf import get_settings
from django_obc_ai.exceptions import AbandonedCallError, JobCancelledError, JobDeadlineError
from django_obc_ai.logs import events
from django_obc_ai.models import Job, JobHold
from django_obc_ai.models.connections import persist
from django_obc_ai.types.ids import new_id

_ORDER = ("-priority", "turn", "created_at", "id")
#: So many of the next are looked at together: others may take the first ones meanwhile.
_LOOK_AT = 20
_AT_ONCE = 500
_FREE = {"owner": "", "lease_until": None}


def _change(rows: Any, **values: Any) -> int:
    # Any: a queryset, which the stubs would have generic.
    return int(persist(get_settings().database, lambda: rows.update(**values)))


def _read(work: Any) -> Any:
    # Any: whatever the query returns.
    return persist(get_settings().database, work)


def _queued() -> Any:
    return Job.objects.filter(status=Job.Status.QUEUED)


def _running() -> Any:
    return Job.objects.filter(status=Job.Status.RUNNING)


def _due(now: datetime.datetime) -> Any:
    held = JobHold.objects.filter(until__gt=now).values("provider")
    return _alive(now).filter(due_at__lte=now).exclude(provider__in=held)


def _alive(now: datetime.datetime) -> Any:
    return _queued().filter(Q(deadline_at=None) | Q(deadline_at__gt=now))


def _ended(**values: Any) -> dict[str, Any]:
    now = timezone.now()
    expires = now + datetime.timedelta(days=get_settings().jobs.keep_days)
    return {**_FREE, "finished_at": now, "expires_at": expires, **values}


def turn_for(job: Job) -> int:
    """Return the turn of a new job: its person's next one at its provider, and none that is past.

    So the jobs of persons who wait are taken by turns, one of each, and who comes later is not
    behind all that somebody else has asked before. Past is what was before the first one that
    waits for the same provider; what is due later does not count, or who comes would be put
    before all who wait now. Where nothing waits, it is what was before the last one taken,
    from whatever provider: one that was idle neither passes by the others nor waits for them.
    """
    # Any: the project's own user model has the key.
    alike: dict[str, Any] = {"priority": job.priority, "provider": job.provider}
    waiting = _queued().filter(**alike, due_at__lte=timezone.now())
    present = _read(waiting.order_by("turn").values_list("turn", flat=True).first)
    if present is None:
        taken = Job.objects.filter(priority=job.priority, started_at__isnull=False)
        present = _read(lambda: taken.aggregate(found=Max("turn"))["found"]) or 0
    mine = {**alike, "scope": job.scope, "user_id": job.user_id}
    last = _read(lambda: Job.objects.filter(**mine).aggregate(found=Max("turn"))["found"])
    return int(max(present, 0 if last is None else last + 1))


def count_waiting() -> int:
    """Return how many jobs are queued."""
    return int(_read(lambda: _queued().count()))


def next_due_at() -> datetime.datetime | None:
    """Return when the first job that waits may be taken; None if none waits."""
    alive = _alive(timezone.now()).order_by().values_list("provider")
    found = _read(lambda: list(alive.annotate(found=Min("due_at"))))
    held = dict(_read(lambda: list(JobHold.objects.values_list("provider", "until"))))
    return min((max(at, held.get(name, at)) for name, at in found), default=None)


def has_due() -> bool:
    """Return whether a job could be taken now."""
    return bool(_read(lambda: _due(timezone.now()).exists()))


def count_before(job: Job) -> int:
    """Return how many jobs are taken before one that is queued."""
    before = Q(created_at__lt=job.created_at) | Q(created_at=job.created_at, id__lt=job.pk)
    same = Q(turn__lt=job.turn) | (Q(turn=job.turn) & before)
    ahead = Q(priority__gt=job.priority) | (Q(priority=job.priority) & same)
    return int(_read(lambda: _queued().filter(ahead).count()))


def claim(only: UUID | None = None) -> Job | None:
    """Take the next job that is due, or only a certain one, for this worker alone; or None."""
    settings = get_settings().jobs
    lease = datetime.timedelta(seconds=settings.lease_seconds)
    while True:
        now = timezone.now()
        rows = _due(now) if only is None else _due(now).filter(pk=only)
        due = rows.order_by(*_ORDER).values_list("pk", flat=True)
        found = _read(lambda: list(due[:_LOOK_AT]))  # noqa: B023 - called at once
        if not found:
            return None
        for pk in found:
            token = f"{socket.gethostname()[:50]}:{os.getpid()}:{new_id().hex[-16:]}"
            now = timezone.now()
            _change(
                _due(now).filter(pk=pk),
                status=Job.Status.RUNNING,
                owner=token,
                lease_until=now + lease,
                operation_id=new_id(),
                attempts=F("attempts") + 1,
                started_at=now,
            )
            # Asked of the row, for an UPDATE whose connection broke may have been made.
            mine = Job.objects.filter(pk=pk, owner=token)
            job: Job | None = _read(mine.first)
            if job is not None:
                return job


def _borne(job: Job) -> Any:
    return Job.objects.filter(pk=job.pk, owner=job.owner)


def _mine(job: Job) -> Any:
    return _borne(job).filter(status=Job.Status.RUNNING)


def renew(job: Job) -> None:
    """Keep a job for another lease, if it is still this worker's, or was when it was cancelled."""
    lease = datetime.timedelta(seconds=get_settings().jobs.lease_seconds)
    _change(_borne(job), lease_until=timezone.now() + lease)


def _release(job: Job) -> None:
    """Say that this worker's call is over, of a job that was cancelled meanwhile."""
    _change(_borne(job), **_FREE)


def finish(
    job: Job, result: dict[str, Any] | None, *, category: str = "", message: str = ""
) -> bool:
    """End a job of this worker's; False if it is not this worker's any more.

    Args:
        job: As it was claimed.
        result: The answer, as JSON.
        category: Of the error, "" for an answer. What failed keeps its request, for a retry.
        message: Of the error.
    """
    values = _ended(result=result, error_category=category[:50], error_message=_clean(message))
    if category:
        values["status"] = Job.Status.FAILED
    else:
        values |= {"status": Job.Status.SUCCEEDED, "request": {}}
    if not _change(_mine(job), **values):
        events.JOBS_ANSWER_REFUSED.log(job_id=job.pk)
        _release(job)
        return False
    events.JOBS_ENDED.log(job_id=job.pk, outcome=category or "success", attempts=job.attempts)
    return True


def put_back(job: Job, due_at: datetime.datetime, *, is_counted: bool) -> bool:
    """Let a job of this worker's wait again, in its place; False if it is not its any more.

    Args:
        job: As it was claimed.
        due_at: When it may be taken.
        is_counted: Whether the attempt counts.
    """
    attempts = F("attempts") - (0 if is_counted else 1)
    values = {**_FREE, "status": Job.Status.QUEUED, "due_at": due_at, "attempts": attempts}
    if _change(_mine(job), **values):
        return True
    _release(job)
    return False


def hold_others(provider: str, due_at: datetime.datetime) -> None:
    """Let all that wait for a provider wait until a time: they would be refused, too.

    Who was refused last knows best, so a time may be earlier than the one before. It is one row,
    however many wait, and whoever comes meanwhile waits as well.
    """
    row = JobHold(provider=provider, until=due_at)

    def hold() -> None:
        JobHold.objects.bulk_create(
            [row], update_conflicts=True, unique_fields=["provider"], update_fields=["until"]
        )

    _read(hold)


def cancel(pk: UUID) -> bool:
    """Cancel a job that has not ended; False if it has. Its answer is written by nobody."""
    if not _cancel(Job.objects.filter(pk=pk)):
        return False
    events.JOBS_ENDED.log(job_id=pk, outcome=JobCancelledError.code, attempts=0)
    return True


def cancel_all(user_id: Any) -> int:
    """Cancel the jobs of a user that have not ended; return how many."""
    return _cancel(Job.objects.filter(user_id=user_id))


def _cancel(rows: Any) -> int:
    """Cancel what has not ended. A call under way keeps its owner until it has."""
    error = JobCancelledError()
    told = {"request": {}, "error_category": error.code, "error_message": str(error)}
    values = _ended(status=Job.Status.CANCELLED, **told)
    values = {name: value for name, value in values.items() if name not in _FREE}
    # One UPDATE, for a worker may put a running job back between two. What was never begun takes
    # no turn of its person's.
    begun = When(status=Job.Status.RUNNING, then=F("turn"))
    turn = Case(begun, default=0, output_field=BigIntegerField())
    rows = rows.filter(status__in=[Job.Status.QUEUED, Job.Status.RUNNING])
    return _change(rows, turn=turn, **values)


def remove(pk: UUID) -> bool:
    """Delete a job that nobody has taken; return whether there is none then."""
    rows = _queued().filter(pk=pk, attempts=0)
    _read(rows.delete)
    # Asked of the table, for a DELETE whose connection broke may have been made.
    return not _read(Job.objects.filter(pk=pk).exists)


def expire(pk: UUID | None = None) -> int:
    """End jobs, or one, whose deadline has passed while they waited; return how many."""
    error = JobDeadlineError()
    rows = _queued().filter(deadline_at__lte=timezone.now())
    if pk is not None:
        rows = rows.filter(pk=pk)
    values = {"error_category": error.code, "error_message": str(error)}
    return _change(rows, **_ended(status=Job.Status.FAILED, turn=0, **values))


def take_up() -> int:
    """Give jobs whose worker has not been heard of to others, or up; return how many.

    The turn stays, so they are taken next.
    """
    lapsed = _running().filter(lease_until__lte=timezone.now())
    found = _read(lambda: list(lapsed.only("pk", "owner", "attempts", "lease_until")))
    # Not if it was renewed meanwhile.
    return sum(_let_go(job, _mine(job).filter(lease_until=job.lease_until)) for job in found)


def give_up(job: Job) -> None:
    """Let another try what this worker could not bring to its end."""
    if not _let_go(job, _mine(job)):
        _release(job)


def _let_go(job: Job, mine: Any) -> bool:
    """Queue a job again that somebody had begun, or end it if that was so too often."""
    if job.attempts < get_settings().jobs.attempts:
        is_done = _change(mine, **_FREE, status=Job.Status.QUEUED, due_at=timezone.now())
        event = events.JOBS_TAKEN_UP
    else:
        error = AbandonedCallError()
        values = {"error_category": error.code, "error_message": str(error)}
        is_done = _change(mine, **_ended(status=Job.Status.FAILED, **values))
        event = events.JOBS_ABANDONED
    if is_done:
        event.log(job_id=job.pk, attempts=job.attempts)
    return bool(is_done)


def purge() -> int:
    """Delete ended jobs that were kept for long enough; return how many."""
    old = Job.objects.filter(expires_at__lte=timezone.now()).order_by().values_list("pk", flat=True)
    count = 0
    while keys := _read(lambda: list(old[:_AT_ONCE])):
        rows = Job.objects.filter(pk__in=keys, expires_at__lte=timezone.now())
        _read(rows.delete)
        count += len(keys)
    return count


def retry(pk: UUID) -> bool:
    """Queue a failed job again, as if it were new; False if it is none, or its request is gone."""
    failed = Job.objects.filter(pk=pk, status=Job.Status.FAILED)
    job: Job | None = _read(failed.first)
    if job is None or not job.request:
        return False
    now = timezone.now()
    again = {
        "status": Job.Status.QUEUED,
        "turn": turn_for(job),
        "created_at": now,
        "due_at": now,
        "attempts": 0,
        "result": None,
        "error_category": "",
        "error_message": "",
    }
    ended = ("not_before", "deadline_at", "started_at", "finished_at", "expires_at")
    return bool(_change(failed, **again, **dict.fromkeys(ended)))


def _clean(text: str) -> str:
    """Return a text without what no database takes."""
    return text.encode(errors="replace").decode().replace("\x00", "")
