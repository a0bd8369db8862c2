"""What jobs hold about people, and how it goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from django.db import models
from django.utils import timezone

from django_obc_ai.conf import get_settings
from django_obc_ai.models import Job
from django_obc_ai.models.connections import persist
from django_obc_ai.services import _job_json, _job_queue
from django_obc_ai.services._job_handle import pauses

_AT_ONCE = 200
_sleep = time.sleep
_TOLD = (
    "id", "status", "scope", "module", "operation_type", "provider", "created_at", "started_at",
    "finished_at", "error_category",
)  # fmt: skip


def jobs_of(user_id: Any) -> models.QuerySet[Job]:
    """Return the jobs of a user."""
    return Job.objects.filter(user_id=user_id).order_by("created_at", "pk")


@dataclass(frozen=True, slots=True)
class Erased:
    """How many jobs were deleted, were rewritten, and were still under way in the end."""

    jobs: int
    mentions: int
    running: int


def erase_jobs(user_id: Any, change: Callable[[str], str] | None = None) -> Erased:
    """Cancel and delete the jobs of a user, and rewrite what others' say of them.

    What waits is never begun. A call under way has the texts as they were, and writes to the
    ledger and to the cache when it ends, so its end is waited for: for as long as a call or the
    lease of a dead worker may last. What goes on even then stays as it is, so that another
    erasure finds it.

    Args:
        user_id: Whose jobs.
        change: Returns a text without what is to go; None to look at no texts.
    """
    settings = get_settings()
    _job_queue.cancel_all(user_id)
    count, late = (0, []) if change is None else _forget(change, except_of=user_id)
    deleted = running = 0
    for pause in pauses(max(settings.jobs.lease_seconds, settings.retry.deadline_seconds)):
        _job_queue.cancel_all(user_id)
        deleted += _delete_ended(user_id)
        if change is not None:
            more, late = _forget_in_all(_again(late), change)
            count += more
        # Whatever was not deleted, since a lease may have ended after it was looked at.
        running = len(late) + persist(settings.database, jobs_of(user_id).count)
        if not running:
            break
        _sleep(pause)
    return Erased(deleted, count, running)


def _held(user_id: Any) -> models.QuerySet[Job]:
    """Return the jobs of a user at which a worker is, cancelled or not."""
    return jobs_of(user_id).filter(lease_until__gt=timezone.now()).exclude(owner="")


def _delete_ended(user_id: Any) -> int:
    count, alias = 0, get_settings().database
    held = _held(user_id).order_by().values("pk")
    ended = jobs_of(user_id).order_by().filter(finished_at__isnull=False).exclude(pk__in=held)
    while keys := persist(alias, lambda: list(ended.values_list("pk", flat=True)[:_AT_ONCE])):
        persist(alias, Job.objects.filter(pk__in=keys).delete)
        count += len(keys)
    return count


def told(user_id: Any) -> Iterator[dict[str, Any]]:
    """Yield what is handed out of each of a user's jobs: no passages of sources, as elsewhere."""
    for job in jobs_of(user_id).iterator(chunk_size=_AT_ONCE):
        texts = _job_json.texts_of(job)
        yield {**{name: getattr(job, name) for name in _TOLD}, **texts}


def count_mentions(change: Callable[[str], str], *, except_of: Any) -> int:
    """Return how many jobs have texts that would be changed, but for those of a user."""
    return sum(_values(job, change) is not None for page in _pages(except_of) for job in page)


def _pages(except_of: Any) -> Iterator[list[Job]]:
    after = None
    while True:
        rows = Job.objects.exclude(user_id=except_of).order_by("pk")
        found = list((rows if after is None else rows.filter(pk__gt=after))[:_AT_ONCE])
        if not found:
            return
        after = found[-1].pk
        yield found


def _forget(change: Callable[[str], str], *, except_of: Any) -> tuple[int, list[Job]]:
    """Rewrite the texts of all others' jobs; see `_forget_in_all`."""
    count = 0
    late: list[Job] = []
    for page in _pages(except_of):
        more, held = _forget_in_all(page, change)
        count, late = count + more, [*late, *held]
    return count, late


def _forget_in_all(jobs: list[Job], change: Callable[[str], str]) -> tuple[int, list[Job]]:
    """Rewrite the texts of jobs; return how many were changed, and which workers are at."""
    done = [(job, _forget_in(job, change)) for job in jobs]
    return sum(is_done is True for _, is_done in done), [job for job, it in done if it is None]


def _again(jobs: list[Job]) -> list[Job]:
    keys = [job.pk for job in jobs]
    return list(Job.objects.filter(pk__in=keys)) if keys else []


def _forget_in(job: Job, change: Callable[[str], str]) -> bool | None:
    """Rewrite the texts of one job, as it then stands; None if a worker has what they were.

    A worker is told by its lease. Of a cancelled job nobody knows what its worker has.
    """
    found: Job | None = job
    while found is not None:
        values = _values(found, change)
        is_held = found.owner and found.lease_until and found.lease_until > timezone.now()
        if is_held and (values is not None or not found.request):
            return None
        if values is None:
            return False
        as_read = {"pk": found.pk, "status": found.status, "owner": found.owner}
        if Job.objects.filter(**as_read).update(**values):
            return True
        found = Job.objects.filter(pk=job.pk).first()
    return False


def _values(job: Job, change: Callable[[str], str]) -> dict[str, Any] | None:
    """Return the columns of a job as they are to be; None if they are so."""
    values = {
        "request": _job_json.rewritten(job.request, change),
        "result": job.result and _job_json.rewritten(job.result, change),
        "error_message": change(job.error_message),
    }
    is_changed = any(getattr(job, name) != value for name, value in values.items())
    return values if is_changed else None
