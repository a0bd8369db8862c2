"""Versions of prompt templates that were written in the admin."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.utils import timezone

from django_obc_ai.models.managers import ConfiguredManager


class PromptTemplate(models.Model):
    """One version of one prompt. Its text is never changed: an edit is another version.

    At most one version of a name is active. Without one, the file of that name is used.

    Attributes:
        version: Counts from 1 for each name.
        created_by: Who wrote it.
        activated_at: When it last became active; None for never.
        activated_by: Who made it active.
    """

    class Status(models.TextChoices):
        """What a version is used for."""

        DRAFT = "draft", "draft"
        ACTIVE = "active", "active"
        ARCHIVED = "archived", "archived"

    name = models.CharField(max_length=50)
    version = models.PositiveIntegerField()
    text = models.TextField()
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.DRAFT)
    created_at = models.DateTimeField(default=timezone.now)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        db_constraint=False,  # templates may live in another database than the users
        related_name="+",
    )
    activated_at = models.DateTimeField(null=True, blank=True)
    activated_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        db_constraint=False,
        related_name="+",
    )

    objects = ConfiguredManager["PromptTemplate"]()

    class Meta:
        ordering: ClassVar[list[str]] = ["name", "-version"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["name", "version"], name="obc_ai_prompt_version"),
            models.UniqueConstraint(
                fields=["name"],
                condition=models.Q(status="active"),
                name="obc_ai_prompt_one_active",
            ),
            models.CheckConstraint(
                condition=models.Q(status__in=["draft", "active", "archived"]),
                name="obc_ai_prompt_status",
            ),
        ]

    def __str__(self) -> str:
        """Return name and version."""
        return f"{self.name} v{self.version}"
