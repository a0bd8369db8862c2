"""The admin of scheduled tasks and of workers: to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone

from django_obc_ai.admin.readonly import ReadOnly
from django_obc_ai.models import TaskState, Worker
from django_obc_ai.services._ages import age

if TYPE_CHECKING:
    TaskStateBase = admin.ModelAdmin[TaskState]  # generic in the stubs only
    WorkerBase = admin.ModelAdmin[Worker]
else:
    TaskStateBase = WorkerBase = admin.ModelAdmin


@admin.register(TaskState)
class TaskStateAdmin(ReadOnly, TaskStateBase):
    """How each scheduled task last went, and what was done once."""

    list_display = (
        "name",
        "key",
        "is_ok",
        "started_at",
        "finished_at",
        "runs",
        "worker",
        "error_category",
    )
    list_filter = ("is_ok", "name")
    ordering = ("is_ok", "name", "-key")
    show_full_result_count = False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        """Return all fields."""
        return [field.name for field in TaskState._meta.fields if not field.primary_key]


@admin.register(Worker)
class WorkerAdmin(ReadOnly, WorkerBase):
    """Which processes run tasks, and when each was last heard of."""

    list_display = ("name", "heard", "seen_at", "started_at")
    ordering = ("-seen_at",)
    show_full_result_count = False

    @admin.display(description="Heard of", ordering="seen_at")
    def heard(self, worker: Worker) -> str:
        """Return how long ago that was."""
        return f"{age((timezone.now() - worker.seen_at).total_seconds())} ago"
