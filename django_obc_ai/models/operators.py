"""What operators ask for in the admin: providers that rest, and indexes to be worked on."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils import timezone

from django_obc_ai.models.fields import NAME_LENGTH
from django_obc_ai.models.managers import ConfiguredManager


class ProviderPause(models.Model):
    """A provider that is not asked for now; without a row it is.

    Attributes:
        alias: Of the provider in ``OBC_AI["PROVIDERS"]``.
        reason: For people; it stands in no error and in no log line.
        paused_by: Who it was, by name.
        since: When it began.
        until: When it ends by itself; None for when somebody resumes it.
    """

    alias = models.CharField("provider", max_length=50, primary_key=True)
    reason = models.CharField(max_length=300)
    paused_by = models.CharField(max_length=NAME_LENGTH, blank=True, default="")
    since = models.DateTimeField(default=timezone.now)
    until = models.DateTimeField(
        null=True, blank=True, help_text="Empty: until somebody resumes it."
    )

    objects = ConfiguredManager["ProviderPause"]()

    class Meta:
        verbose_name = "pause of a provider"
        verbose_name_plural = "AI providers"
        ordering: ClassVar[list[str]] = ["alias"]

    def __str__(self) -> str:
        """Return the alias."""
        return self.alias


class IndexRequest(models.Model):
    """Work on an index that waits for ``ai_index --requested``; gone when it is done.

    Attributes:
        name: Of the index.
        kind: What is to be done.
        requested_by: Who it was, by name.
    """

    class Kind(models.TextChoices):
        """What is to be done, from little to much."""

        SWEEP = "sweep", "index what waits"
        REBUILD = "rebuild", "rebuild"

    name = models.CharField(max_length=100, primary_key=True)
    kind = models.CharField(max_length=10, choices=Kind.choices)
    requested_by = models.CharField(max_length=NAME_LENGTH, blank=True, default="")
    requested_at = models.DateTimeField(default=timezone.now)

    objects = ConfiguredManager["IndexRequest"]()

    def __str__(self) -> str:
        """Return index and work."""
        return f"{self.name}: {self.get_kind_display()}"
