"""What jobs hold about people, and how it goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from django.db import models

from django_obc_ai.conf import get_settings
from django_obc_ai.models import Job
from django_obc_ai.models.connections import persist
from django_obc_ai.services import _job_json

_AT_ONCE = 200
_TOLD = (
    "id", "status", "scope", "module", "operation_type", "provider", "created_at", "started_at",
    "finished_at", "error_category",
)  # fmt: skip


def jobs_of(user_id: Any) -> models.QuerySet[Job]:
    """Return the jobs of a user."""
    return Job.objects.filter(user_id=user_id).order_by("created_at", "pk")


def erase_jobs(user_id: Any) -> int:
    """Delete the jobs of a user, whatever becomes of them; return how many they were.

    What waits is never begun, and the answer of one that runs finds no row to be written to.
    """
    count, alias = 0, get_settings().database
    mine = jobs_of(user_id).order_by().values_list("pk", flat=True)
    while keys := persist(alias, lambda: list(mine[:_AT_ONCE])):
        persist(alias, Job.objects.filter(pk__in=keys).delete)
        count += len(keys)
    return count


def told(user_id: Any) -> Iterator[dict[str, Any]]:
    """Yield what is handed out of each of a user's jobs: no passages of sources, as elsewhere."""
    for job in jobs_of(user_id).iterator(chunk_size=_AT_ONCE):
        texts = _job_json.texts_of(job)
        yield {**{name: getattr(job, name) for name in _TOLD}, **texts}


def forget_mentions(change: Callable[[str], str], *, is_dry_run: bool = False) -> int:
    """Rewrite the texts of all jobs; return of how many they change.

    Args:
        change: Returns a text without what is to go.
        is_dry_run: Only count.
    """
    count, after = 0, None
    while True:
        rows = Job.objects.order_by("pk")
        found = list((rows if after is None else rows.filter(pk__gt=after))[:_AT_ONCE])
        if not found:
            return count
        after = found[-1].pk
        count += sum(_forget_in(job, change, is_dry_run=is_dry_run) for job in found)


def _forget_in(job: Job, change: Callable[[str], str], *, is_dry_run: bool) -> bool:
    """Rewrite the texts of one job, as it then stands: a worker may answer it meanwhile."""
    found: Job | None = job
    while found is not None:
        values = {
            "request": _job_json.rewritten(found.request, change),
            "result": found.result and _job_json.rewritten(found.result, change),
            "error_message": change(found.error_message),
        }
        if all(getattr(found, name) == value for name, value in values.items()):
            return False
        as_read = {"pk": found.pk, "status": found.status, "owner": found.owner}
        if is_dry_run or Job.objects.filter(**as_read).update(**values):
            return True
        found = Job.objects.filter(pk=job.pk).first()
    return False
