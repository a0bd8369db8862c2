"""What was asked and answered, where ``OBC_AI["LOG"]["store_content"]`` is on."""

from __future__ import annotations

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.utils import timezone

from django_obc_ai.models.managers import ConfiguredManager
from django_obc_ai.models.operations import AIOperation


class StoredContent(models.Model):
    """The texts of one operation, after redaction. It goes with its operation and its user.

    It may be there before its operation, which can wait on disk, and be deleted without it.

    Attributes:
        system: The system instruction.
        prompt: Sources and question, as the model saw them.
        history: Earlier turns: [{"role": …, "text": …}, …], oldest first.
        answer: What came back; of a broken stream, as much as did. "" for a failure.
        created_at: When the call ended; `purge_content` goes by it.
    """

    operation = models.OneToOneField(
        AIOperation,
        on_delete=models.CASCADE,
        primary_key=True,
        db_constraint=False,  # the operation may come later, out of the spool
        related_name="content",
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        db_constraint=False,  # the ledger may live in another database than the users
        related_name="+",
    )
    system = models.TextField(blank=True, default="")
    prompt = models.TextField(blank=True, default="")
    history = models.JSONField(default=list, blank=True)
    answer = models.TextField(blank=True, default="")
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    objects = ConfiguredManager["StoredContent"]()

    class Meta:
        verbose_name = "stored content"
        verbose_name_plural = "stored contents"
        ordering: ClassVar[list[str]] = ["-created_at"]
        permissions = (("read_content", "Can read stored prompts and answers"),)

    def __str__(self) -> str:
        """Return the operation's key, not what was said."""
        return str(self.pk)
