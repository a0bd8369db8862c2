"""Work in the background: what a job may be, and how far it is."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Literal, TypeAlias

JobStatus: TypeAlias = Literal["queued", "running", "succeeded", "failed", "cancelled"]
#: Statuses that never change again, unless somebody asks for a retry.
FINAL_STATUSES: tuple[JobStatus, ...] = ("succeeded", "failed", "cancelled")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobProgress:
    """How far a job is.

    Attributes:
        ahead: Jobs that are taken before it, as the queue stands now; 0 once it runs.
        attempts: How often a worker has begun it.
        due_at: When it is taken at the earliest, aware UTC, where it has to wait.
        started_at: When the last attempt began, aware UTC.
    """

    ahead: int
    attempts: int
    due_at: datetime.datetime | None
    started_at: datetime.datetime | None
