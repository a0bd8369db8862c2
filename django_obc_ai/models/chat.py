"""Conversations and their messages."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.utils import timezone

from django_obc_ai.models.managers import ConfiguredManager

TITLE_LENGTH = 80


class Conversation(models.Model):
    """What one person asked, and was answered, in a row.

    It belongs to its user and goes with its user. Nobody's conversations, of people who did
    not log in, are found by whoever knows their key.

    Attributes:
        scope: Tenant key; in another tenant it is not found.
        title: The first question, shortened.
        summary: What is left of turns that no longer fit into what a model is shown.
        summarised_to: Key of the last message that `summary` stands for; 0 for none.
        updated_at: When somebody last asked something.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        db_constraint=False,  # conversations may live in another database than the users
        related_name="+",
    )
    scope = models.CharField(max_length=100, blank=True, default="")
    title = models.CharField(max_length=TITLE_LENGTH, blank=True, default="")
    summary = models.TextField(blank=True, default="")
    summarised_to = models.BigIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(default=timezone.now)

    objects = ConfiguredManager["Conversation"]()

    class Meta:
        ordering: ClassVar[list[str]] = ["-updated_at"]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["user", "updated_at"], name="obc_ai_conversation_user"),
            models.Index(fields=["updated_at"], name="obc_ai_conversation_updated"),
        ]
        permissions = (("read_conversation", "Can read what people asked and were answered"),)

    def __str__(self) -> str:
        """Return the key; a title is what somebody asked."""
        return str(self.id)


class ChatMessage(models.Model):
    """One question or one answer.

    Attributes:
        key: What the message is asked for by; unlike ``id`` nobody can guess it.
        text: As it was asked, or as the answer was shown.
        plan: The plan that was found safe, as JSON, or None. It is checked again, with
            the rights of that day, whenever it is used.
        citations: The sources that the text names: number, title, url, and of a passage that
            was found by search its text. Rows of a query are not kept.
        operation_ids: Keys of the `AIOperation` rows of this answer, as text.
        is_refused: Nothing was done; neither question nor answer is shown to a model again.
        is_offline: No language model had a part in it.
        error: Category of a failure, or "".
        found_by: In words, how the rows were found; "" without rows.
        warnings: What a check of the answer noticed, in words for people.
    """

    class Role(models.TextChoices):
        """Who said it."""

        USER = "user", "user"
        ASSISTANT = "assistant", "assistant"

    key = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    conversation = models.ForeignKey(
        Conversation, on_delete=models.CASCADE, related_name="messages"
    )
    role = models.CharField(max_length=10, choices=Role.choices)
    text = models.TextField()
    plan = models.JSONField(null=True, blank=True, encoder=DjangoJSONEncoder)
    citations = models.JSONField(default=list, blank=True)
    operation_ids = models.JSONField(default=list, blank=True)
    is_refused = models.BooleanField(default=False)
    is_offline = models.BooleanField(default=False)
    error = models.CharField(max_length=50, blank=True, default="")
    found_by = models.TextField(blank=True, default="")
    warnings = models.JSONField(default=list, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    objects = ConfiguredManager["ChatMessage"]()

    class Meta:
        ordering: ClassVar[list[str]] = ["id"]
        verbose_name = "chat message"

    def __str__(self) -> str:
        """Return role and key, not what was said."""
        return f"{self.role} #{self.pk}"
