"""Jobs as their owner sees them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from django_obc_ai.models import Job
from django_obc_ai.services._job_handle import JobHandle, find, unknown_job
from django_obc_ai.services.text import scope_of


def get_job(job_id: UUID | str, *, user: Any) -> JobHandle:
    """Return the handle of one of this user's own jobs, in this user's tenant.

    Raises:
        UnknownJobError: There is none; the error does not say whether somebody else has it.
    """
    job = find(job_id)
    if not list_jobs(user=user).filter(pk=job.pk).exists():
        raise unknown_job(job.pk)
    handle = JobHandle(job)
    handle.refresh()
    return handle


def list_jobs(*, user: Any) -> QuerySet[Job]:
    """Return this user's own jobs in this user's tenant, the last one first.

    People who did not log in have none.
    """
    if getattr(user, "pk", None) is None:
        return Job.objects.none()
    return Job.objects.filter(user_id=user.pk, scope=scope_of(user))
