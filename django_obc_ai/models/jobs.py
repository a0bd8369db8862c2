"""The tables of work in the background: jobs, scheduled tasks, and who works."""

from __future__ import annotations

import uuid
from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from django_obc_ai.conf import get_settings
from django_obc_ai.models.fields import NAME_LENGTH
from django_obc_ai.models.managers import ConfiguredManager
from django_obc_ai.querysets import BoundedQuerySet


class JobManager(models.Manager["Job"]):
    """Jobs on the configured database."""

    def get_queryset(self) -> BoundedQuerySet[Job]:
        """Return all rows; ``using()`` names another database."""
        return BoundedQuerySet(self.model, using=self._db or get_settings().database)


class Job(models.Model):
    """A question that is answered in the background; the row is the queue.

    What a task runner carries says only that there is work. Which job is taken is decided here,
    by priority, then by turn, so that no broker can lose, double or reorder one.
    """

    class Status(models.TextChoices):
        """How far a job is."""

        QUEUED = "queued"
        RUNNING = "running"
        SUCCEEDED = "succeeded"
        FAILED = "failed"
        CANCELLED = "cancelled"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    status = models.CharField(max_length=10, choices=Status, default=Status.QUEUED)
    priority = models.SmallIntegerField(default=0, help_text="Higher is taken earlier.")
    turn = models.BigIntegerField(
        default=0, help_text="Whose turn it is among jobs of one priority: persons alternate."
    )
    # What a job belongs to: the ledger's columns of the same names.
    user: models.ForeignKey[Any, Any] = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        db_constraint=False,
        related_name="+",
    )
    user_id: Any  # of any type: the project's own user model has the key
    scope = models.CharField(max_length=100, default="", blank=True)
    module = models.CharField(max_length=50, default="general")
    operation_type = models.CharField(max_length=50, default="other")
    provider = models.CharField(max_length=50, default="default")
    #: The prepared call, as JSON; {} once it is answered or cancelled.
    request = models.JSONField(default=dict)
    #: The answer, as JSON: the fields of a GenerationResult.
    result = models.JSONField(null=True, default=None)
    error_category = models.CharField(max_length=50, default="", blank=True)
    error_message = models.TextField(default="", blank=True)
    operation_id = models.UUIDField(
        null=True, default=None, help_text="The operation of the last attempt."
    )
    attempts = models.PositiveIntegerField(default=0)
    owner = models.CharField(max_length=100, default="", blank=True)
    lease_until = models.DateTimeField(null=True, default=None)
    due_at = models.DateTimeField(default=timezone.now)
    not_before = models.DateTimeField(
        null=True, default=None, help_text="When it may begin, where whoever asked wants it later."
    )
    deadline_at = models.DateTimeField(null=True, default=None)
    created_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True, default=None)
    finished_at = models.DateTimeField(null=True, default=None)
    expires_at = models.DateTimeField(null=True, default=None)

    objects = JobManager()

    class Meta:
        ordering: ClassVar[list[str]] = ["-created_at"]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(
                fields=["-priority", "turn", "created_at", "id"],
                name="obc_ai_job_next",
                condition=Q(status="queued"),
            ),
            models.Index(fields=["due_at"], name="obc_ai_job_due", condition=Q(status="queued")),
            models.Index(
                fields=["lease_until"], name="obc_ai_job_lease", condition=Q(status="running")
            ),
            # These three say which turn a new job gets.
            models.Index(
                fields=["provider", "priority", "turn"],
                name="obc_ai_job_present",
                condition=Q(status="queued"),
            ),
            models.Index(
                fields=["priority", "-turn"],
                name="obc_ai_job_taken",
                condition=Q(started_at__isnull=False),
            ),
            models.Index(
                fields=["scope", "user", "provider", "priority", "-turn"],
                name="obc_ai_job_person",
            ),
            models.Index(fields=["expires_at"], name="obc_ai_job_expires"),
            # How the queue of each provider stands.
            models.Index(
                fields=["provider", "due_at", "created_at"],
                name="obc_ai_job_waiting",
                condition=Q(status="queued"),
            ),
            # Whether others have to wait behind a provider's jobs: who waits, and who was served.
            models.Index(
                fields=["provider", "due_at"],
                name="obc_ai_job_line",
                condition=Q(status="queued", priority__gte=0),
            ),
            models.Index(
                fields=["provider", "finished_at"],
                name="obc_ai_job_served",
                condition=Q(finished_at__isnull=False),
            ),
            # What ended lately, and how.
            models.Index(fields=["finished_at", "status"], name="obc_ai_job_finished"),
            # The list in the admin, and each of its filters.
            models.Index(fields=["-created_at"], name="obc_ai_job_created"),
            models.Index(fields=["status", "-created_at"], name="obc_ai_job_status_at"),
            models.Index(fields=["provider", "-created_at"], name="obc_ai_job_provider_at"),
            models.Index(fields=["module", "-created_at"], name="obc_ai_job_module_at"),
            models.Index(
                fields=["error_category", "-created_at"],
                name="obc_ai_job_error_at",
                condition=Q(status="failed"),
            ),
        ]
        permissions = (("manage_jobs", "Can retry and cancel jobs"),)
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(
                condition=Q(status__in=["queued", "running", "succeeded", "failed", "cancelled"]),
                name="obc_ai_job_status",
            ),
        ]

    def __str__(self) -> str:
        """Return key and status, not what was asked."""
        return f"{self.pk} ({self.status})"


class TaskState(models.Model):
    """How a task last ended; a row with a key tells of one thing that it is done for.

    Of ``recover_jobs``, which only the schedule starts, it tells when the schedule last worked.
    Whoever is at something that one process does at a time is the row's owner; see
    ``services._claims``.
    """

    name = models.CharField(max_length=50)
    key = models.CharField(
        max_length=100, default="", blank=True, help_text='What it is done for: "2026-11-27".'
    )
    started_at = models.DateTimeField(null=True, default=None)
    finished_at = models.DateTimeField(null=True, default=None)
    is_ok = models.BooleanField(default=True)
    error_category = models.CharField(max_length=50, default="", blank=True)
    error_message = models.TextField(default="", blank=True)
    runs = models.PositiveBigIntegerField(default=0)
    worker = models.CharField(max_length=NAME_LENGTH, default="", blank=True)
    owner = models.CharField(max_length=100, default="", blank=True, help_text="Who is at it.")
    lease_until = models.DateTimeField(null=True, default=None)

    objects = ConfiguredManager["TaskState"]()

    class Meta:
        verbose_name = "scheduled task"
        ordering: ClassVar[list[str]] = ["name", "key"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["name", "key"], name="obc_ai_task_once"),
        ]

    def __str__(self) -> str:
        """Return name and key."""
        return f"{self.name} {self.key}".strip()


class Worker(models.Model):
    """A process that runs tasks, and when it was last heard of."""

    name = models.CharField(max_length=NAME_LENGTH, primary_key=True, help_text="Host and process.")
    started_at = models.DateTimeField(default=timezone.now)
    seen_at = models.DateTimeField(default=timezone.now, db_index=True)

    objects = ConfiguredManager["Worker"]()

    class Meta:
        ordering: ClassVar[list[str]] = ["name"]

    def __str__(self) -> str:
        """Return the name."""
        return self.name


class JobHold(models.Model):
    """Until when no job of a provider is taken, since it would be refused as another one was."""

    provider = models.CharField(max_length=50, primary_key=True)
    until = models.DateTimeField()

    objects = ConfiguredManager["JobHold"]()

    class Meta:
        ordering: ClassVar[list[str]] = ["provider"]

    def __str__(self) -> str:
        """Return the provider."""
        return self.provider
